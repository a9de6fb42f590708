//! Heads as bytes. Refuses what would break out of its place.

use super::error::EncodeError;
use super::fields::{Fields, is_token, is_value_byte};
use super::head::{RequestHead, ResponseHead};
use bytes::{BufMut, Bytes, BytesMut};

pub(super) fn request(head: &RequestHead) -> Result<Bytes, EncodeError> {
    if !is_token(head.method.as_bytes()) {
        return Err(EncodeError::Method);
    }
    if !head.target.starts_with('/') || !head.target.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(EncodeError::Target);
    }
    let mut out = BytesMut::with_capacity(512);
    out.put_slice(head.method.as_bytes());
    out.put_u8(b' ');
    out.put_slice(head.target.as_bytes());
    out.put_slice(b" HTTP/1.1\r\n");
    put_fields(&mut out, &head.fields)?;
    Ok(out.freeze())
}

pub(super) fn response(head: &ResponseHead) -> Result<Bytes, EncodeError> {
    if !matches!(head.status, 100..=599) {
        return Err(EncodeError::Status);
    }
    if !head.reason.bytes().all(is_value_byte) {
        return Err(EncodeError::Reason);
    }
    let mut out = BytesMut::with_capacity(512);
    out.put_slice(b"HTTP/1.1 ");
    out.put_slice(head.status.to_string().as_bytes());
    out.put_u8(b' ');
    out.put_slice(head.reason.as_bytes());
    out.put_slice(b"\r\n");
    put_fields(&mut out, &head.fields)?;
    Ok(out.freeze())
}

/// The fields and the empty line. They were checked when they were pushed or parsed; this is the
/// last place where it can be done, so it is done again.
fn put_fields(out: &mut BytesMut, fields: &Fields) -> Result<(), EncodeError> {
    for field in fields {
        if !is_token(field.name().as_bytes()) {
            return Err(EncodeError::Name);
        }
        if !field.value().iter().all(|b| is_value_byte(*b)) {
            return Err(EncodeError::Value(field.name().to_owned()));
        }
        out.put_slice(field.name().as_bytes());
        out.put_slice(b": ");
        out.put_slice(field.value());
        out.put_slice(b"\r\n");
    }
    out.put_slice(b"\r\n");
    Ok(())
}

/// The usual reason phrase of the statuses these roles send or see; empty for others.
#[must_use]
pub const fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        200 => "OK",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        410 => "Gone",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "",
    }
}
