//! A connection through a proxy: CONNECT of HTTP (RFC 9110, section 9.3.6), or SOCKS5 (RFC 1928 and 1929).

use super::{host, named_port};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::BytesMut;
use http::Uri;
use percent_encoding::percent_decode_str;
use portforward::http1::{HeadLimits, read_response_head};
use secrecy::{ExposeSecret as _, SecretString};
use std::fmt;
use std::io;
use std::net::IpAddr;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use zeroize::Zeroizing;

/// What a URL has where its password was not escaped: of `http://me:pa/ss@proxy`, `pa` is the port.
const MORE: &str =
    "it has more than a host and a port; in user and password / is %2F, ? is %3F and # is %23";

const SCHEMES: &str = "a proxy begins with http:// or socks5://";

/// URL of a proxy, as a flag or a kubeconfig has it. The credentials in it are a secret: neither `Debug` nor `Display`
/// shows them.
#[derive(Clone)]
pub struct ProxyUrl(SecretString);

impl From<&str> for ProxyUrl {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl ProxyUrl {
    /// The URL, its credentials included, if such a proxy can be used. Without a scheme it is none, as with kubectl.
    ///
    /// # Errors
    /// What is wrong with it, without a word of it that may be a secret.
    pub fn uri(&self) -> Result<Uri, String> {
        let text = self.0.expose_secret();
        if !text.contains("://") {
            return Err(SCHEMES.to_owned());
        }
        let uri: Uri = text.parse().map_err(|_| "it is no URL".to_owned())?;
        // A URI has no fragment: what stands behind it would be lost.
        if text.contains('#') {
            return Err(MORE.to_owned());
        }
        Through::of(&uri)?;
        Ok(uri)
    }
}

impl fmt::Display for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.uri() {
            Ok(uri) => {
                let authority = uri.authority().map_or("", |authority| authority.as_str());
                let scheme = uri.scheme_str().unwrap_or_default();
                match authority.rsplit_once('@') {
                    Some((_, place)) => write!(f, "{scheme}://***@{place}"),
                    None => write!(f, "{scheme}://{authority}"),
                }
            }
            Err(_) => f.write_str("***"),
        }
    }
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Connect,
    Socks5,
}

/// How to go through a proxy.
pub(crate) struct Through {
    kind: Kind,
    /// Of the proxy, without the brackets of IPv6.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// User and password.
    who: Option<(SecretString, SecretString)>,
}

impl Through {
    /// # Errors
    /// Why this is no proxy that can be used.
    pub(crate) fn of(url: &Uri) -> Result<Self, String> {
        let (kind, port) = match url.scheme_str().unwrap_or_default() {
            "http" => (Kind::Connect, 80),
            // Names are the proxy's to look up with both, as with kubectl.
            "socks5" | "socks5h" => (Kind::Socks5, 1080),
            "https" => return Err("a proxy with https:// is not supported yet".to_owned()),
            _ => return Err(SCHEMES.to_owned()),
        };
        let place = host(url);
        if place.is_empty() {
            return Err("it names no host".to_owned());
        }
        if !matches!(url.path(), "" | "/") || url.query().is_some() {
            return Err(MORE.to_owned());
        }
        let authority = url.authority().map_or("", |authority| authority.as_str());
        if named_port(url).is_some() && url.port_u16().is_none() {
            return Err("its port is no number up to 65535".to_owned());
        }
        let who = authority.rsplit_once('@').map(|(who, _)| {
            let (user, password) = who.split_once(':').unwrap_or((who, ""));
            (decoded(user), decoded(password))
        });
        if let Some((user, password)) = &who
            && kind == Kind::Socks5
            && [user, password]
                .iter()
                .any(|part| part.expose_secret().len() > 255)
        {
            return Err("user and password of SOCKS5 have at most 255 bytes".to_owned());
        }
        Ok(Self {
            kind,
            host: place.to_owned(),
            port: url.port_u16().unwrap_or(port),
            who,
        })
    }

    /// Asks the proxy, on a connection to it, for one to this host.
    ///
    /// # Errors
    /// What it said; no secret in it.
    pub(crate) async fn ask<T>(&self, io: &mut T, host: &str, port: u16) -> io::Result<()>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let asked = match self.kind {
            Kind::Connect => self.connect(io, host, port).await,
            Kind::Socks5 => self.socks5(io, host, port).await,
        };
        asked.map_err(|error| {
            let text = format!("proxy {}:{}: {error}", self.host, self.port);
            io::Error::new(error.kind(), text)
        })
    }

    async fn connect<T>(&self, io: &mut T, host: &str, port: u16) -> io::Result<()>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let place = if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        };
        let mut head = Zeroizing::new(format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n"));
        if let Some((user, password)) = &self.who {
            let both = format!("{}:{}", user.expose_secret(), password.expose_secret());
            let both = Zeroizing::new(both);
            let encoded = Zeroizing::new(BASE64_STANDARD.encode(both.as_bytes()));
            head.push_str("Proxy-Authorization: Basic ");
            head.push_str(&encoded);
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        io.write_all(head.as_bytes()).await?;
        io.flush().await?;
        let limits = HeadLimits::default();
        let mut behind = BytesMut::new();
        let answer = read_response_head(io, &mut behind, &limits, limits.deadline()).await;
        let answer = answer.map_err(|error| io::Error::other(format!("CONNECT: {error}")))?;
        // Not its reason phrase: it may repeat what it was sent.
        match answer.status {
            200..300 if behind.is_empty() => Ok(()),
            200..300 => Err(io::Error::other(
                "CONNECT: bytes before the server was asked",
            )),
            407 => Err(io::Error::other(
                "CONNECT: 407, it wants to know who we are; http://USER:PASSWORD@HOST:PORT tells it",
            )),
            status => Err(io::Error::other(format!("CONNECT: {status}"))),
        }
    }

    async fn socks5<T>(&self, io: &mut T, host: &str, port: u16) -> io::Result<()>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        const NONE: u8 = 0;
        const PASSWORD: u8 = 2;
        let refused = |text: &str| io::Error::other(format!("SOCKS5: {text}"));
        let methods: &[u8] = match self.who {
            Some(_) => &[5, 2, NONE, PASSWORD],
            None => &[5, 1, NONE],
        };
        io.write_all(methods).await?;
        io.flush().await?;
        let mut chosen = [0; 2];
        io.read_exact(&mut chosen).await?;
        match (chosen, &self.who) {
            ([5, NONE], _) => {}
            ([5, PASSWORD], Some((user, password))) => {
                let mut who = Zeroizing::new(vec![1]);
                for part in [user, password] {
                    counted(&mut who, part.expose_secret().as_bytes());
                }
                io.write_all(&who).await?;
                io.flush().await?;
                let mut answer = [0; 2];
                io.read_exact(&mut answer).await?;
                if answer != [1, 0] {
                    return Err(refused("it does not take this user and password"));
                }
            }
            ([5, 0xff], _) => return Err(refused("it wants another way to say who we are")),
            ([5, _], _) => return Err(refused("it chose what was not offered")),
            _ => return Err(refused("it speaks something else")),
        }
        let mut request = vec![5, 1, 0];
        match host.parse() {
            Ok(IpAddr::V4(ip)) => {
                request.push(1);
                request.extend(ip.octets());
            }
            Ok(IpAddr::V6(ip)) => {
                request.push(4);
                request.extend(ip.octets());
            }
            Err(_) if host.len() > 255 => return Err(refused("a name of more than 255 bytes")),
            Err(_) => {
                request.push(3);
                counted(&mut request, host.as_bytes());
            }
        }
        request.extend(port.to_be_bytes());
        io.write_all(&request).await?;
        io.flush().await?;
        let mut answer = [0; 4];
        io.read_exact(&mut answer).await?;
        let [version, code, _, kind] = answer;
        if version != 5 {
            return Err(refused("it speaks something else"));
        }
        if code != 0 {
            return Err(refused(reason(code)));
        }
        // From where it has connected, which says nothing to us.
        let length = match kind {
            1 => 4,
            4 => 16,
            3 => usize::from(io.read_u8().await?),
            _ => return Err(refused("an address of an unknown kind")),
        };
        let mut place = [0; 255];
        if let Some(place) = place.get_mut(..length) {
            io.read_exact(place).await?;
        }
        io.read_u16().await?;
        Ok(())
    }
}

/// Bytes behind their number, which the caller knows to be at most 255.
fn counted(to: &mut Vec<u8>, bytes: &[u8]) {
    to.push(u8::try_from(bytes.len()).unwrap_or(u8::MAX));
    to.extend(bytes);
}

fn reason(code: u8) -> &'static str {
    match code {
        1 => "it failed",
        2 => "not allowed by its rules",
        3 => "network unreachable",
        4 => "host unreachable",
        5 => "connection refused",
        6 => "it took too long",
        7 => "it does not connect",
        8 => "not this kind of address",
        _ => "an unknown answer",
    }
}

/// Without its escapes of a URL.
fn decoded(text: &str) -> SecretString {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    bytes.extend(percent_decode_str(text));
    String::from_utf8_lossy(&bytes).into_owned().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (text, shown) in [
            ("http://proxy:3128", "http://proxy:3128"),
            ("http://me:hunter2@proxy:3128/", "http://***@proxy:3128"),
            ("socks5://me:hunter2@[::1]", "socks5://***@[::1]"),
            ("https://me:hunter2@proxy", "***"),
        ] {
            let url = ProxyUrl::from(text);
            assert_eq!(
                (url.to_string(), format!("{url:?}")),
                (shown.to_owned(), shown.to_owned())
            );
        }
        for bad in [
            "https://hunter2:x@h",
            "ftp://hunter2@h",
            "http://",
            "http://hunter2 x",
            "",
            "hunter2:3128",
            "me:hunter2@proxy:3128",
            "http://me:hunter2/ss@proxy:3128",
            "http://me:12/hunter2@proxy:3128",
            "http://me:12?hunter2@proxy:3128",
            "http://me:12#hunter2@proxy:3128",
            "http://hunter2:",
            "http://hunter2:99999",
            "http://hunter2:abc",
            "http://[::1]:99999",
        ] {
            let error = ProxyUrl::from(bad).uri().unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
            assert_eq!(ProxyUrl::from(bad).to_string(), "***");
        }
        let long = format!("socks5://me:{}@h", "x".repeat(256));
        assert!(ProxyUrl::from(&*long).uri().unwrap_err().contains("255"));
    }

    /// What is asked of a proxy that answers so, and what comes of it.
    async fn asked(url: &str, host: &str, answers: &[&[u8]]) -> (Vec<u8>, Result<(), String>) {
        let through = Through::of(&ProxyUrl::from(url).uri().unwrap()).unwrap();
        let (mut near, mut far) = tokio::io::duplex(1 << 12);
        for answer in answers {
            far.write_all(answer).await.unwrap();
        }
        let result = through.ask(&mut near, host, 6443).await;
        drop(near);
        let mut sent = Vec::new();
        far.read_to_end(&mut sent).await.unwrap();
        (sent, result.map_err(|error| error.to_string()))
    }

    #[tokio::test]
    async fn by_connect() {
        let ok: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";
        let (sent, result) = asked("http://p", "h", &[ok]).await;
        assert_eq!(result, Ok(()));
        assert_eq!(sent, b"CONNECT h:6443 HTTP/1.1\r\nHost: h:6443\r\n\r\n");
        let (sent, result) = asked("http://a%40b:c%3A@p", "::1", &[ok]).await;
        assert_eq!(result, Ok(()));
        let sent = String::from_utf8(sent).unwrap();
        let auth = BASE64_STANDARD.encode("a@b:c:");
        assert!(
            sent.starts_with("CONNECT [::1]:6443 HTTP/1.1\r\n"),
            "{sent}"
        );
        assert!(
            sent.contains(&format!("Proxy-Authorization: Basic {auth}\r\n")),
            "{sent}"
        );
        for (answer, words) in [
            (
                &b"HTTP/1.1 407 hunter2\r\n\r\n"[..],
                "proxy p:80: CONNECT: 407, it wants",
            ),
            (b"HTTP/1.1 503 hunter2\r\n\r\n", "CONNECT: 503"),
            (b"HTTP/1.1 200 OK\r\n\r\nhello", "bytes before the server"),
            (b"SSH-2.0-x\r\n\r\n", "CONNECT:"),
        ] {
            let (_, result) = asked("http://me:hunter2@p", "h", &[answer]).await;
            let error = result.unwrap_err();
            assert!(
                error.contains(words) && !error.contains("hunter2"),
                "{error}"
            );
        }
    }

    #[tokio::test]
    async fn by_socks5() {
        let bound = [5, 0, 0, 1, 127, 0, 0, 1, 0, 1];
        let (sent, result) = asked("socks5://p", "h", &[&[5, 0], &bound]).await;
        assert_eq!(result, Ok(()));
        assert_eq!(
            sent,
            [&[5, 1, 0][..], &[5, 1, 0, 3, 1, b'h', 0x19, 0x2b]].concat()
        );
        let named = [&[5, 0, 0, 3, 2][..], b"ab", &[0, 1]].concat();
        let (sent, result) =
            asked("socks5h://u:pw@p", "10.0.0.1", &[&[5, 2], &[1, 0], &named]).await;
        assert_eq!(result, Ok(()));
        let who = [&[5, 2, 0, 2, 1, 1, b'u', 2][..], b"pw"].concat();
        assert_eq!(
            sent,
            [&who[..], &[5, 1, 0, 1, 10, 0, 0, 1, 0x19, 0x2b]].concat()
        );
        for (answers, words) in [
            (&[&[5, 0xff][..]][..], "another way"),
            (&[&[4, 0]], "something else"),
            (&[&[5, 2], &[1, 1]], "does not take this user"),
            (
                &[&[5, 0], &[5, 5, 0, 1, 0, 0, 0, 0, 0, 0]],
                "connection refused",
            ),
            (&[&[5, 0], &[5, 0, 0, 9]], "unknown kind"),
        ] {
            let error = asked("socks5://u:hunter2@p", "h", answers)
                .await
                .1
                .unwrap_err();
            assert!(
                error.contains(words) && !error.contains("hunter2"),
                "{error}"
            );
        }
        // A method that was not offered.
        let error = asked("socks5://p", "h", &[&[5, 2]]).await.1.unwrap_err();
        assert!(error.contains("not offered"), "{error}");
    }
}
