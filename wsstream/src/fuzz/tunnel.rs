use super::{Input, carry};
use crate::{Config, ConnectionError, MaskKeys, Read, Role, Tunnel};
use bytes::{Buf as _, Bytes, BytesMut};
use std::collections::VecDeque;
use std::io::IoSlice;
use std::time::Instant;

/// Z10. Two ends of a tunnel: what was written comes out, in order, and the end is the end.
///
/// # Panics
/// A property does not hold.
pub fn tunnel(data: &[u8]) {
    let mut choices = Input(data);
    let make = |role| {
        let mut config = Config::stream(role);
        config.keys = MaskKeys::predictable(3);
        match Tunnel::new(config) {
            Ok(tunnel) => tunnel,
            Err(error) => unreachable!("{error}"),
        }
    };
    let mut ends = [make(Role::Client), make(Role::Server)];
    let mut wires = [BytesMut::new(), BytesMut::new()];
    let mut sent = [VecDeque::new(), VecDeque::new()];
    let mut finished = [false, false];
    let mut over = [false, false];
    let now = Instant::now();
    let mut steps = 0u32;
    loop {
        steps = steps.saturating_add(1);
        let ended = choices.0.is_empty();
        if ended
            && steps.is_multiple_of(4)
            && wires.iter().all(BytesMut::is_empty)
            && ends.iter_mut().all(|e| e.outgoing().is_empty())
        {
            break;
        }
        let shape = if ended {
            u8::try_from(steps % 4).unwrap_or(0) | 0xF0
        } else {
            choices.byte()
        };
        let at = usize::from(shape & 1);
        let amount = usize::from(shape >> 4).saturating_mul(if shape & 8 == 0 { 1 } else { 97 });
        let Ok([end, other]) = ends.get_disjoint_mut([at, 1 - at]) else {
            return;
        };
        let (Some(wire), Some(queue)) = (wires.get_mut(at), sent.get_mut(at)) else {
            return;
        };
        match (shape >> 1) & 3 {
            0 if !ended => {
                let bytes = choices.bytes(amount);
                let mut from = bytes.chain(bytes);
                let result = end.write(&mut from, amount);
                if result.is_ok() {
                    let n = amount.min(bytes.len().saturating_mul(2));
                    queue.extend(bytes.iter().chain(bytes).copied().take(n));
                } else {
                    assert!(finished.iter().any(|f| *f), "{result:?}");
                }
            }
            // Far from the limit of what may wait.
            3 if !ended && shape >> 4 == 0xE && end.outgoing().len() < 1 << 20 => {
                // Large, to a transport that takes some of it.
                let mut room = usize::from(choices.byte()).saturating_mul(401);
                let bytes = choices.bytes(amount).repeat(64);
                let write = |slices: &[IoSlice<'_>]| take(wire, &mut room, slices);
                match end.write_through(&mut &bytes[..], bytes.len(), write) {
                    Ok(()) => queue.extend(&bytes),
                    error => assert!(finished.iter().any(|f| *f), "{error:?}"),
                }
            }
            3 if !ended && shape >> 4 == 0xF => {
                assert_eq!(end.finish(), Ok(()));
                if let Some(done) = finished.get_mut(at) {
                    *done = true;
                }
            }
            1 | 3 => {
                carry(end.outgoing(), wire, amount.max(1));
            }
            _ => {
                let mut input = wire.split_to(amount.max(1).min(wire.len()));
                input.unsplit(wire.split());
                let read = read(other, steps.is_multiple_of(2), now, &mut input);
                match read {
                    Ok(Some(Read::Bytes(bytes))) => {
                        let expected: Vec<u8> =
                            queue.drain(..bytes.len().min(queue.len())).collect();
                        assert_eq!(bytes, expected, "other bytes than were sent");
                    }
                    Ok(Some(Read::End)) => {
                        assert!(finished.iter().any(|f| *f), "an end that nobody made");
                        if finished.get(at) == Some(&true) {
                            assert!(queue.is_empty(), "an end before the last byte");
                        }
                        if let Some(over) = over.get_mut(1 - at) {
                            *over = true;
                        }
                    }
                    Ok(None) => {}
                    Err(error) => unreachable!("{error}"),
                }
                *wire = input;
            }
        }
    }
    for (at, queue) in sent.iter().enumerate() {
        let heard = over.get(1 - at) == Some(&true);
        assert!(queue.is_empty() || heard, "bytes are missing");
    }
}

/// By either call.
fn read(
    end: &mut Tunnel,
    borrows: bool,
    now: Instant,
    input: &mut BytesMut,
) -> Result<Option<Read>, ConnectionError> {
    if !borrows {
        return end.poll_read(now, input);
    }
    let (taken, read) = end.poll_read_borrowed(now, input)?;
    let read = read.map(|read| read.map(Bytes::copy_from_slice));
    input.advance(taken);
    Ok(read)
}

/// A transport that has `room` left.
fn take(wire: &mut BytesMut, room: &mut usize, slices: &[IoSlice<'_>]) -> usize {
    let before = wire.len();
    for slice in slices {
        let n = slice.len().min(*room);
        *room = room.saturating_sub(n);
        wire.extend_from_slice(slice.get(..n).unwrap_or_default());
    }
    wire.len().saturating_sub(before)
}
