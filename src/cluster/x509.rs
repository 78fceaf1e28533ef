//! What a certificate says, read from DER as Go's `crypto/x509` reads it.
//! Pure.

use super::go_url::{GoUrl, IpAddr, address};

/// A certificate.
#[derive(Clone, Debug, Default)]
pub struct Certificate {
    /// The whole, DER.
    pub der: Vec<u8>,
    /// What is signed.
    pub signed: Vec<u8>,
    /// By which algorithm: the content of its identifier.
    pub algorithm: Vec<u8>,
    /// Signature.
    pub signature: Vec<u8>,
    /// Content of the issuer's name.
    pub issuer: Vec<u8>,
    /// Content of the subject's name.
    pub subject: Vec<u8>,
    /// First and last second, since 1970.
    pub valid: (i64, i64),
    /// The subject's key.
    pub key: PublicKey,
    /// From 1.
    pub version: u8,
    /// Is it an authority, and how many intermediates may follow?
    pub basic: Option<(bool, Option<u64>)>,
    /// Bits of the key usage, the first the highest.
    pub key_usage: Option<u16>,
    /// May its key be used for what is asked? `None` if that is not said.
    pub is_for_servers: Option<bool>,
    /// Names it is for.
    pub names: Names,
    /// Has it a field of names at all?
    pub has_names: bool,
    /// Names that certificates below it may have.
    pub constraints: Option<Constraints>,
    /// Name of its key.
    pub key_id: Vec<u8>,
    /// Name of the key that signed it.
    pub authority_key_id: Vec<u8>,
    /// It has a critical extension that is not understood.
    pub is_beyond: bool,
}

/// A public key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublicKey {
    /// Content of the identifier of its algorithm.
    pub algorithm: Vec<u8>,
    /// The key itself.
    pub bits: Vec<u8>,
}

/// Names of what a certificate is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Host names.
    pub dns: Vec<String>,
    /// Addresses.
    pub addresses: Vec<IpAddr>,
    /// URIs.
    pub uris: Vec<String>,
    /// Mail addresses.
    pub mails: Vec<String>,
}

/// Names that are allowed below an authority, and names that are not.
#[derive(Clone, Debug, Default)]
pub struct Constraints {
    /// At least one of a kind must fit, if there is one of the kind.
    pub permitted: Subtrees,
    /// None may fit.
    pub excluded: Subtrees,
}

/// Sets of names.
#[derive(Clone, Debug, Default)]
pub struct Subtrees {
    /// Domains.
    pub dns: Vec<String>,
    /// Address and mask.
    pub addresses: Vec<(Vec<u8>, Vec<u8>)>,
    /// Domains of URIs.
    pub uris: Vec<String>,
    /// Mail addresses and their domains.
    pub mails: Vec<String>,
}

/// The certificate cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a certificate that cannot be read")]
pub struct Malformed;

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
/// Tags of a context: primitive and constructed.
const CONTEXT: u8 = 0x80;
const CONTEXT_CONSTRUCTED: u8 = 0xa0;

/// DER that is left to read.
#[derive(Clone, Copy)]
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next element: tag, content, and the whole.
    fn any(&mut self) -> Result<(u8, &'a [u8], &'a [u8]), Malformed> {
        let (&tag, &first) = (self.0.first().ok_or(Malformed)?, self.0.get(1).ok_or(Malformed)?);
        if tag & 0x1f == 0x1f {
            return Err(Malformed);
        }
        let (header, length) = match first {
            0..=0x7f => (2, usize::from(first)),
            0x81..=0x84 => {
                let count = usize::from(first & 0x7f);
                let bytes = self.0.get(2..2 + count).ok_or(Malformed)?;
                let length = bytes.iter().fold(0_usize, |length, byte| length << 8 | usize::from(*byte));
                // The shortest form, and no other.
                if length < 0x80 || bytes.first() == Some(&0) {
                    return Err(Malformed);
                }
                (2 + count, length)
            }
            _ => return Err(Malformed),
        };
        let whole = self.0.get(..header.checked_add(length).ok_or(Malformed)?).ok_or(Malformed)?;
        self.0 = self.0.get(whole.len()..).unwrap_or_default();
        Ok((tag, whole.get(header..).unwrap_or_default(), whole))
    }

    fn expect(&mut self, wanted: u8) -> Result<Der<'a>, Malformed> {
        let (tag, content, _) = self.any()?;
        if tag == wanted { Ok(Der(content)) } else { Err(Malformed) }
    }

    fn optional(&mut self, wanted: u8) -> Result<Option<Der<'a>>, Malformed> {
        if self.0.first() == Some(&wanted) { self.expect(wanted).map(Some) } else { Ok(None) }
    }

    fn integer(&mut self) -> Result<&'a [u8], Malformed> {
        let bytes = self.expect(INTEGER)?.0;
        let is_longer =
            |first: u8, second: u8| (first == 0 && second < 0x80) || (first == 0xff && second >= 0x80);
        match bytes {
            [] => Err(Malformed),
            [first, second, ..] if is_longer(*first, *second) => Err(Malformed),
            bytes => Ok(bytes),
        }
    }

    fn boolean(&mut self) -> Result<Option<bool>, Malformed> {
        match self.optional(BOOLEAN)?.map(|content| content.0) {
            None => Ok(None),
            Some([0]) => Ok(Some(false)),
            Some([0xff]) => Ok(Some(true)),
            Some(_) => Err(Malformed),
        }
    }

    fn bits(&mut self) -> Result<(u8, &'a [u8]), Malformed> {
        match self.expect(BIT_STRING)?.0 {
            [unused, bits @ ..] if *unused < 8 && (*unused == 0 || !bits.is_empty()) => {
                let is_padded = bits.last().is_none_or(|last| last & ((1 << unused) - 1) == 0);
                if is_padded { Ok((*unused, bits)) } else { Err(Malformed) }
            }
            _ => Err(Malformed),
        }
    }

    fn end(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

impl Certificate {
    /// Reads a certificate.
    ///
    /// # Errors
    /// When Go does not read it either, or it is not DER.
    pub fn parse(der: &[u8]) -> Result<Self, Malformed> {
        let mut outer = Der(der);
        let mut certificate = outer.expect(SEQUENCE)?;
        outer.end()?;
        let (tag, tbs, signed) = certificate.any()?;
        let algorithm = certificate.expect(SEQUENCE)?.0;
        let (unused, signature) = certificate.bits()?;
        if tag != SEQUENCE || unused != 0 {
            return Err(Malformed);
        }
        let mut tbs = Der(tbs);
        let version = match tbs.optional(CONTEXT_CONSTRUCTED)? {
            None => 0,
            Some(mut version) => match version.integer()? {
                [version @ 0..=2] => *version,
                _ => return Err(Malformed),
            },
        };
        if tbs.integer()?.first().is_none_or(|first| *first >= 0x80) || tbs.expect(SEQUENCE)?.0 != algorithm {
            return Err(Malformed);
        }
        let issuer = tbs.expect(SEQUENCE)?.0;
        let mut validity = tbs.expect(SEQUENCE)?;
        let valid = (time(&mut validity)?, time(&mut validity)?);
        let subject = tbs.expect(SEQUENCE)?.0;
        let key = PublicKey::of_content(tbs.expect(SEQUENCE)?.0)?;
        let mut read = Self {
            der: der.to_vec(),
            signed: signed.to_vec(),
            algorithm: algorithm.to_vec(),
            signature: signature.to_vec(),
            issuer: issuer.to_vec(),
            subject: subject.to_vec(),
            valid,
            key,
            version: version + 1,
            ..Self::default()
        };
        if version > 0 {
            for unique in [CONTEXT | 1, CONTEXT | 2] {
                tbs.optional(unique)?;
            }
        }
        if version == 2
            && let Some(mut extensions) = tbs.optional(CONTEXT_CONSTRUCTED | 3)?
        {
            read.extensions(extensions.expect(SEQUENCE)?)?;
        }
        Ok(read)
    }

    fn extensions(&mut self, mut all: Der<'_>) -> Result<(), Malformed> {
        let mut seen = Vec::new();
        while !all.0.is_empty() {
            let mut extension = all.expect(SEQUENCE)?;
            let id = extension.expect(OID)?.0;
            let is_critical = extension.boolean()?.unwrap_or(false);
            let value = extension.expect(OCTET_STRING)?;
            if seen.contains(&id) {
                return Err(Malformed);
            }
            seen.push(id);
            let is_understood = match id {
                [0x55, 0x1d, number] => self.extension(*number, value, is_critical)?,
                // Where to ask about it.
                [0x2b, 6, 1, 5, 5, 7, 1, 1] => true,
                _ => false,
            };
            self.is_beyond |= is_critical && !is_understood;
        }
        Ok(())
    }

    fn extension(&mut self, number: u8, mut value: Der<'_>, is_critical: bool) -> Result<bool, Malformed> {
        match number {
            14 | 35 if is_critical => return Err(Malformed),
            14 => self.key_id = value.expect(OCTET_STRING)?.0.to_vec(),
            35 => {
                let id = value.expect(SEQUENCE)?.optional(CONTEXT)?;
                self.authority_key_id = id.map(|id| id.0.to_vec()).unwrap_or_default();
            }
            15 => {
                let (_, bits) = value.bits()?;
                let byte = |at: usize| u16::from(bits.get(at).copied().unwrap_or_default());
                self.key_usage = Some(byte(0) << 8 | byte(1));
            }
            17 => {
                self.has_names = true;
                self.names = names(value)?;
                return Ok(self.names != Names::default());
            }
            19 => {
                let mut basic = value.expect(SEQUENCE)?;
                let is_authority = basic.boolean()?.unwrap_or(false);
                let length = if basic.0.is_empty() { None } else { Some(length(basic.integer()?)?) };
                self.basic = Some((is_authority, length));
            }
            30 => {
                let (constraints, is_whole) = constraints(value)?;
                self.constraints = Some(constraints);
                return Ok(is_whole);
            }
            // Where lists of revoked certificates are.
            31 => {}
            37 => {
                let mut usages = value.expect(SEQUENCE)?;
                let mut is_for_servers = false;
                while !usages.0.is_empty() {
                    let usage = usages.expect(OID)?.0;
                    is_for_servers |= usage == [0x2b, 6, 1, 5, 5, 7, 3, 1] || usage == [0x55, 0x1d, 37, 0];
                    self.is_for_servers = Some(is_for_servers);
                }
            }
            // Policies: they forbid nothing without constraints, and those (33, 36, 54) are not understood here.
            32 => {}
            33 | 36 | 54 => self.is_beyond = true,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

impl PublicKey {
    /// Reads a `SubjectPublicKeyInfo`.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(der: &[u8]) -> Result<Self, Malformed> {
        Self::of_content(Der(der).expect(SEQUENCE)?.0)
    }

    /// Reads the content of a `SubjectPublicKeyInfo`.
    ///
    /// # Errors
    /// When it is none.
    pub fn of_content(content: &[u8]) -> Result<Self, Malformed> {
        let mut content = Der(content);
        let algorithm = content.expect(SEQUENCE)?.0.to_vec();
        let (_, bits) = content.bits()?;
        Ok(Self { algorithm, bits: bits.to_vec() })
    }
}

/// A number that is not negative.
fn length(bytes: &[u8]) -> Result<u64, Malformed> {
    if bytes.len() > 8 || bytes.first().is_none_or(|first| *first >= 0x80) {
        return Err(Malformed);
    }
    Ok(bytes.iter().fold(0, |length, byte| length << 8 | u64::from(*byte)))
}

fn time(from: &mut Der<'_>) -> Result<i64, Malformed> {
    let (tag, content, _) = from.any()?;
    let text = std::str::from_utf8(content).map_err(|_| Malformed)?;
    let digits = text.strip_suffix('Z').filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let digits = digits.ok_or(Malformed)?;
    let (year, rest) = match (tag, digits.len()) {
        (UTC_TIME, 12) => {
            let year = digits[..2].parse::<i16>().map_err(|_| Malformed)?;
            (if year >= 50 { 1900 + year } else { 2000 + year }, &digits[2..])
        }
        (GENERALIZED_TIME, 14) => (digits[..4].parse().map_err(|_| Malformed)?, &digits[4..]),
        _ => return Err(Malformed),
    };
    let part = |at: usize| rest[at..at + 2].parse::<i8>().map_err(|_| Malformed);
    let (hour, minute, second) = (part(4)?, part(6)?, part(8)?);
    let date = jiff::civil::Date::new(year, part(0)?, part(2)?).map_err(|_| Malformed)?;
    let time = jiff::civil::Time::new(hour, minute, second, 0).map_err(|_| Malformed)?;
    let zoned = date.to_datetime(time).to_zoned(jiff::tz::TimeZone::UTC).map_err(|_| Malformed)?;
    Ok(zoned.timestamp().as_second())
}

/// Text of ASCII.
fn ascii(bytes: &[u8]) -> Result<String, Malformed> {
    if !bytes.is_ascii() {
        return Err(Malformed);
    }
    String::from_utf8(bytes.to_vec()).map_err(|_| Malformed)
}

fn names(mut value: Der<'_>) -> Result<Names, Malformed> {
    let mut list = value.expect(SEQUENCE)?;
    value.end()?;
    let mut names = Names::default();
    while !list.0.is_empty() {
        let (tag, content, _) = list.any()?;
        match tag ^ CONTEXT {
            1 => names.mails.push(ascii(content)?),
            2 => names.dns.push(ascii(content)?),
            6 => {
                let uri = ascii(content)?;
                let url = GoUrl::parse(&uri).map_err(|_| Malformed)?;
                if !url.host.is_empty() && !is_domain(&url.host, false) {
                    return Err(Malformed);
                }
                names.uris.push(uri);
            }
            7 => names.addresses.push(match content.len() {
                4 => <[u8; 4]>::try_from(content).map_err(|_| Malformed)?.into(),
                16 => IpAddr::from(<[u8; 16]>::try_from(content).map_err(|_| Malformed)?),
                _ => return Err(Malformed),
            }),
            _ => {}
        }
    }
    Ok(names)
}

/// Is this a domain, or with `is_constraint` what limits domains? Go looks no closer.
pub fn is_domain(name: &str, is_constraint: bool) -> bool {
    let labels = if is_constraint { name.strip_prefix('.').unwrap_or(name) } else { name };
    let is_plain = || labels.bytes().all(|byte| (33..=126).contains(&byte));
    name.is_empty() || (!labels.split('.').any(str::is_empty) && is_plain())
}

/// Constraints, and whether all of their kinds of names are understood.
fn constraints(mut value: Der<'_>) -> Result<(Constraints, bool), Malformed> {
    let mut both = value.expect(SEQUENCE)?;
    value.end()?;
    let permitted = both.optional(CONTEXT_CONSTRUCTED)?;
    let excluded = both.optional(CONTEXT_CONSTRUCTED | 1)?;
    both.end()?;
    let is_empty = |some: &Option<Der<'_>>| some.is_none_or(|some| some.0.is_empty());
    if is_empty(&permitted) && is_empty(&excluded) {
        return Err(Malformed);
    }
    let read = |some: Option<Der<'_>>| some.map_or_else(|| Ok((Subtrees::default(), true)), subtrees);
    let ((permitted, is_whole), (excluded, is_other_whole)) = (read(permitted)?, read(excluded)?);
    Ok((Constraints { permitted, excluded }, is_whole && is_other_whole))
}

fn subtrees(mut list: Der<'_>) -> Result<(Subtrees, bool), Malformed> {
    let domain = |content| {
        ascii(content).and_then(|name| if is_domain(&name, true) { Ok(name) } else { Err(Malformed) })
    };
    let mut trees = Subtrees::default();
    let mut is_whole = true;
    while !list.0.is_empty() {
        let (tag, content, _) = list.expect(SEQUENCE)?.any()?;
        match tag ^ CONTEXT {
            1 => trees.mails.push(match ascii(content)? {
                mail if mail.contains('@') => mail,
                _ => domain(content)?,
            }),
            2 => trees.dns.push(domain(content)?),
            6 => trees.uris.push(match domain(content)? {
                name if address(&name).is_some() => return Err(Malformed),
                name => name,
            }),
            7 if matches!(content.len(), 8 | 32) => {
                let (start, mask) = content.split_at(content.len() / 2);
                let ones = mask.iter().take_while(|byte| **byte == 0xff).count();
                let is_mask = mask.get(ones..).unwrap_or_default().iter().enumerate().all(|(at, byte)| {
                    *byte == 0 || (at == 0 && byte.leading_ones() + byte.trailing_zeros() == 8)
                });
                if !is_mask {
                    return Err(Malformed);
                }
                trees.addresses.push((start.to_vec(), mask.to_vec()));
            }
            7 => return Err(Malformed),
            _ => is_whole = false,
        }
    }
    Ok((trees, is_whole))
}
