//! Which Helm a file is, without running it: what Go's linker writes into every program (`debug/buildinfo`).

use std::{fs::File, path::Path};

use object::{Object, ObjectSection, ReadCache};

use super::version::Version;

/// Longest text that is read; Helm's own has 11 kB.
const LONGEST: usize = 1 << 20;

/// The version of a Helm's binary; `None` if it does not say, as a script, another program or a development build does not.
pub fn version(helm: &Path) -> Option<Version> {
    let cache = ReadCache::new(File::open(helm).ok()?);
    let file = object::File::parse(&cache).ok()?;
    let section = file.section_by_name(".go.buildinfo")?;
    if section.size() > LONGEST as u64 {
        return None;
    }
    of_build_info(section.data().ok()?)
}

/// Reads the section: 14 bytes of magic, the size of a pointer, flags, padding to 32 bytes; then Go's version and the
/// modules, each after its length.
fn of_build_info(section: &[u8]) -> Option<Version> {
    const INLINE: u8 = 2;
    let flags = *section.strip_prefix(b"\xff Go buildinf:")?.get(1)?;
    if flags & INLINE == 0 {
        // Before Go 1.18 these were pointers.
        return None;
    }
    let (_, rest) = text(section.get(32..)?)?;
    // Between two marks of 16 bytes.
    let modules = text(rest)?.0.get(16..)?;
    let modules = String::from_utf8_lossy(modules);
    let mut lines = modules.lines();
    let is_helm = |path: &str| path.starts_with("helm.sh/helm/v") && path.ends_with("/cmd/helm");
    lines.find(|line| line.strip_prefix("path\t").is_some_and(is_helm))?;
    let module = lines.find_map(|line| line.strip_prefix("mod\thelm.sh/helm/v"))?;
    // `(devel)` is no version.
    Version::parse(module.split('\t').nth(1)?).ok()
}

/// A text after its length, and what follows it. Lengths are written seven bits at a time, the lowest first.
fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut length = 0_usize;
    for (place, byte) in bytes.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return bytes.get(place + 1..)?.split_at_checked(length);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(flags: u8, modules: &str) -> Vec<u8> {
        let mut section = b"\xff Go buildinf:\x08".to_vec();
        section.push(flags);
        section.resize(32, 0);
        let modules =
            [b"0w\xaf\x0c\x92t\x08\x02A\xe1\xc1\x07\xe6\xd6\x18\xe6", modules.as_bytes(), &[0xf9; 16]]
                .concat();
        for text in [&b"go1.25.4"[..], &modules] {
            let (low, high) = (text.len() & 0x7f, text.len() >> 7);
            match high {
                0 => section.push(low as u8),
                _ => section.extend([low as u8 | 0x80, high as u8]),
            }
            section.extend(text);
        }
        section
    }

    #[test]
    fn a_helm_says_its_version_and_others_say_none() {
        let helm = |major: u32, version: &str| {
            format!(
                "path\thelm.sh/helm/v{major}/cmd/helm\nmod\thelm.sh/helm/v{major}\t{version}\th1:abc=\ndep\tx\tv9.9.9\n"
            )
        };
        let of = |modules: &str| of_build_info(&section(2, modules)).map(|version| version.raw);
        assert_eq!(of(&helm(3, "v3.22.0")).as_deref(), Some("v3.22.0"));
        assert_eq!(of(&helm(4, "v4.3.1+dirty")).as_deref(), Some("v4.3.1+dirty"));
        assert_eq!(of(&helm(4, "(devel)")), None);
        assert_eq!(of("path\tgithub.com/jdx/mise\nmod\thelm.sh/helm/v3\tv3.1.0\t\n"), None, "a shim");
        assert_eq!(of(""), None);
        assert_eq!(of_build_info(&section(0, &helm(3, "v3.22.0"))), None, "an old Go");
        let whole = section(2, &helm(3, "v3.22.0"));
        for length in 0..whole.len() - 120 {
            assert_eq!(of_build_info(&whole[..length]), None, "cut off at {length}");
        }
    }

    #[test]
    fn a_file_that_is_no_program_says_none() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "#!/bin/sh\nexec helm \"$@\"\n").unwrap();
        assert_eq!(version(file.path()), None);
        assert_eq!(version(Path::new("/no/such/helm")), None);
        assert_eq!(version(&std::env::current_exe().unwrap()), None, "not of Go");
    }
}
