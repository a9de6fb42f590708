//! The subject of a certificate: common name is the user, organisations are the groups, as
//! Kubernetes reads it.
//!
//! Certificates come here only after the handshake has checked their signatures, so this reads the
//! few DER structures on the way to the subject and refuses whatever is odd.

/// Who a certificate names.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Subject {
    /// The common name.
    pub name: String,
    /// The organisations.
    pub groups: Vec<String>,
}

/// Why a subject is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubjectError {
    /// The certificate is not what DER says it is.
    #[error("malformed certificate")]
    Malformed,
    /// No common name, or an empty one.
    #[error("the certificate has no common name")]
    NoName,
    /// More than one common name: two readers could see two users.
    #[error("the certificate has several common names")]
    SeveralNames,
    /// A name in an encoding, or with characters, that are not accepted.
    #[error("the certificate's name is not plain text")]
    NotText,
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const OBJECT_ID: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const IA5_STRING: u8 = 0x16;
const VERSION: u8 = 0xa0;
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ORGANISATION: &[u8] = &[0x55, 0x04, 0x0a];

impl Subject {
    /// Reads the subject of a DER certificate.
    ///
    /// # Errors
    /// See [`SubjectError`].
    pub fn of(certificate: &[u8]) -> Result<Self, SubjectError> {
        let mut outer = Reader(certificate);
        let mut certificate = Reader(outer.value(SEQUENCE)?);
        outer.end()?;
        let mut signed = Reader(certificate.value(SEQUENCE)?);
        if signed.peek() == Some(VERSION) {
            signed.value(VERSION)?;
        }
        signed.value(INTEGER)?; // serial number
        signed.value(SEQUENCE)?; // signature algorithm
        signed.value(SEQUENCE)?; // issuer
        signed.value(SEQUENCE)?; // validity
        Self::of_name(signed.value(SEQUENCE)?)
    }

    fn of_name(name: &[u8]) -> Result<Self, SubjectError> {
        let mut common = None;
        let mut groups = Vec::new();
        let mut sets = Reader(name);
        while sets.peek().is_some() {
            let mut set = Reader(sets.value(SET)?);
            while set.peek().is_some() {
                let mut attribute = Reader(set.value(SEQUENCE)?);
                let kind = attribute.value(OBJECT_ID)?;
                if kind == COMMON_NAME {
                    if common.replace(attribute.text()?).is_some() {
                        return Err(SubjectError::SeveralNames);
                    }
                } else if kind == ORGANISATION {
                    groups.push(attribute.text()?);
                } else {
                    continue;
                }
                attribute.end()?;
            }
        }
        match common {
            Some(name) if !name.is_empty() => Ok(Self { name, groups }),
            _ => Err(SubjectError::NoName),
        }
    }
}

/// What is left of a DER structure.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    const fn peek(&self) -> Option<u8> {
        match self.0 {
            [tag, ..] => Some(*tag),
            [] => None,
        }
    }

    /// The content of the next element, which must have this tag.
    fn value(&mut self, tag: u8) -> Result<&'a [u8], SubjectError> {
        let (got, value) = self.element()?;
        if got == tag {
            Ok(value)
        } else {
            Err(SubjectError::Malformed)
        }
    }

    fn element(&mut self) -> Result<(u8, &'a [u8]), SubjectError> {
        let (tag, first, rest) = match self.0 {
            [tag, first, rest @ ..] => (*tag, *first, rest),
            _ => return Err(SubjectError::Malformed),
        };
        // Length in one byte, or how many bytes of length follow. No certificate needs above three.
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x83 => {
                let (bytes, rest) = rest
                    .split_at_checked(usize::from(first & 0x7f))
                    .ok_or(SubjectError::Malformed)?;
                (
                    bytes.iter().fold(0usize, |n, b| n << 8 | usize::from(*b)),
                    rest,
                )
            }
            _ => return Err(SubjectError::Malformed),
        };
        let (value, rest) = rest
            .split_at_checked(length)
            .ok_or(SubjectError::Malformed)?;
        self.0 = rest;
        Ok((tag, value))
    }

    fn text(&mut self) -> Result<String, SubjectError> {
        let (tag, value) = self.element()?;
        if !matches!(tag, UTF8_STRING | PRINTABLE_STRING | IA5_STRING) {
            return Err(SubjectError::NotText);
        }
        let text = std::str::from_utf8(value).map_err(|_| SubjectError::NotText)?;
        if text.chars().any(char::is_control) {
            Err(SubjectError::NotText)
        } else {
            Ok(text.to_owned())
        }
    }

    const fn end(&self) -> Result<(), SubjectError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(SubjectError::Malformed)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An element with a short or one-byte length.
    fn der(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len()).unwrap();
        let mut out = if length < 0x80 {
            vec![tag, length]
        } else {
            vec![tag, 0x81, length]
        };
        out.extend_from_slice(content);
        out
    }

    fn attribute(kind: &[u8], tag: u8, text: &[u8]) -> Vec<u8> {
        der(
            SET,
            &der(SEQUENCE, &[der(OBJECT_ID, kind), der(tag, text)].concat()),
        )
    }

    fn certificate(subject: &[u8]) -> Vec<u8> {
        let signed = [
            der(VERSION, &der(INTEGER, &[2])),
            der(INTEGER, &[7]),
            der(SEQUENCE, &[]),
            der(SEQUENCE, &attribute(COMMON_NAME, UTF8_STRING, b"issuer")),
            der(SEQUENCE, &[]),
            der(SEQUENCE, subject),
        ]
        .concat();
        der(
            SEQUENCE,
            &[der(SEQUENCE, &signed), der(SEQUENCE, &[])].concat(),
        )
    }

    #[test]
    fn users_and_groups() {
        let country = attribute(&[0x55, 0x04, 0x06], PRINTABLE_STRING, b"XX");
        let subject = [
            attribute(ORGANISATION, UTF8_STRING, b"system:masters"),
            country,
            attribute(ORGANISATION, PRINTABLE_STRING, b"dev"),
            attribute(COMMON_NAME, UTF8_STRING, "j\u{f6}rg".as_bytes()),
        ]
        .concat();
        let read = Subject::of(&certificate(&subject)).unwrap();
        assert_eq!(
            (read.name.as_str(), read.groups.as_slice()),
            ("jörg", &["system:masters".into(), "dev".into()][..])
        );
    }

    #[test]
    fn doubtful_subjects_are_refused() {
        let name = |text: &[u8]| attribute(COMMON_NAME, UTF8_STRING, text);
        let table = [
            (vec![], SubjectError::NoName),
            (name(b""), SubjectError::NoName),
            (
                attribute(ORGANISATION, UTF8_STRING, b"x"),
                SubjectError::NoName,
            ),
            (
                [name(b"a"), name(b"b")].concat(),
                SubjectError::SeveralNames,
            ),
            (name(b"a\0b"), SubjectError::NotText),
            (name(b"a\nb"), SubjectError::NotText),
            (name(b"\xff"), SubjectError::NotText),
            (attribute(COMMON_NAME, 0x1e, b"\0a"), SubjectError::NotText),
            (vec![SET], SubjectError::Malformed),
            (der(SEQUENCE, b"x"), SubjectError::Malformed),
        ];
        for (subject, expected) in table {
            assert_eq!(
                Subject::of(&certificate(&subject)),
                Err(expected),
                "{subject:02x?}"
            );
        }
    }

    #[test]
    fn any_cut_is_an_error_and_no_panic() {
        let whole = certificate(&attribute(COMMON_NAME, UTF8_STRING, b"user"));
        for end in 0..whole.len() {
            assert!(Subject::of(&whole[..end]).is_err());
        }
        for (i, b) in (0..whole.len()).flat_map(|i| (0..=255u8).map(move |b| (i, b))) {
            let mut changed = whole.clone();
            changed[i] = b;
            drop(Subject::of(&changed));
        }
    }
}
