//! What a binary must be before it is handed out. Every rule is a sentence when it is broken.

use std::{fs, os::unix::ffi::OsStrExt, path::Path, process::Command};

use anyhow::{Context, Result, bail, ensure};
use object::{
    Endianness, Object, elf,
    read::elf::{Dyn, ElfFile64, ProgramHeader},
};

use super::{Runner, Target, version_line};

/// The largest binary that is handed out, in bytes: each job downloads it.
pub(crate) const LARGEST: u64 = 9_000_000;

/// Checks a built binary and says what it found, in a line.
pub(super) fn check(
    binary: &Path,
    target: &Target,
    paths: &[std::path::PathBuf],
    runner: &Runner,
) -> Result<String> {
    let bytes = fs::read(binary).with_context(|| format!("read {}", binary.display()))?;
    let size = bytes.len() as u64;
    ensure!(size <= LARGEST, "the binary has {size} bytes; {LARGEST} are allowed");
    is_static(&bytes, target.elf)?;
    for path in paths {
        if let Some(found) = mention(&bytes, path) {
            bail!("the binary has a path of this machine in it: {found}");
        }
    }
    let ran = match runner {
        Runner::Host => says_its_version(Command::new(binary))?,
        Runner::Emulator(emulator) => {
            let mut command = Command::new(emulator);
            command.arg(binary);
            says_its_version(command)? + " under QEMU"
        }
        Runner::None => "not run".to_owned(),
    };
    let megabytes = size as f64 / 1e6;
    Ok(format!("{megabytes:.2} MB ({size} bytes), static {}, no path of this machine, {ran}", target.machine))
}

/// A static executable asks for no interpreter and no library.
fn is_static(bytes: &[u8], architecture: object::Architecture) -> Result<()> {
    let file = ElfFile64::<Endianness>::parse(bytes).context("read the ELF headers")?;
    ensure!(file.architecture() == architecture, "the binary is for {:?}", file.architecture());
    let endian = file.endian();
    for header in file.elf_program_headers() {
        let interpreter = ProgramHeader::interpreter(header, endian, bytes).context("read PT_INTERP")?;
        if let Some(interpreter) = interpreter {
            bail!("the binary is not static: it wants {}", String::from_utf8_lossy(interpreter));
        }
        let dynamic = ProgramHeader::dynamic(header, endian, bytes).context("read PT_DYNAMIC")?;
        let mut entries = dynamic.unwrap_or_default().iter();
        let needs_library = entries.any(|entry| entry.tag(endian) == elf::DT_NEEDED);
        ensure!(!needs_library, "the binary is not static: it needs a shared library");
    }
    Ok(())
}

/// The first mention of a path, with the text around it.
fn mention(bytes: &[u8], path: &Path) -> Option<String> {
    let mut needle = path.as_os_str().as_bytes().to_owned();
    // With what follows: the name of a directory may begin the name of another.
    needle.push(b'/');
    let at = bytes.windows(needle.len()).position(|window| window == needle)?;
    let printable = |byte: &&u8| byte.is_ascii_graphic();
    let around = bytes[at..].iter().take_while(printable).take(120).copied().collect();
    String::from_utf8(around).ok()
}

fn says_its_version(mut command: Command) -> Result<String> {
    let output = command.arg("--version").output().context("run the binary")?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "the binary does not run: {}", output.status);
    ensure!(said == version_line(), "the binary says {said:?} and Cargo.toml {:?}", version_line());
    Ok(format!("runs: {}", said.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_binary_is_refused() {
        let bytes = fs::read(std::env::current_exe().unwrap()).unwrap();
        let own = ElfFile64::<Endianness>::parse(bytes.as_slice()).unwrap().architecture();
        let error = is_static(&bytes, own).unwrap_err().to_string();
        assert!(error.contains("not static"), "{error}");
    }

    #[test]
    fn a_binary_for_another_machine_is_refused() {
        let bytes = fs::read(std::env::current_exe().unwrap()).unwrap();
        let error = is_static(&bytes, object::Architecture::Riscv64).unwrap_err().to_string();
        assert!(error.starts_with("the binary is for"), "{error}");
    }

    #[test]
    fn a_path_is_found_only_as_a_directory() {
        let bytes = b"\0/builds\0/build/cargo/registry/src/lib.rs\0rest";
        assert_eq!(mention(bytes, Path::new("/build")).as_deref(), Some("/build/cargo/registry/src/lib.rs"));
        assert_eq!(mention(bytes, Path::new("/home/ada")), None);
        assert_eq!(mention(b"/builds", Path::new("/build")), None);
    }
}
