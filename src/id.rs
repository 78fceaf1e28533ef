//! Random names, and hexadecimal.

/// Eight hexadecimal digits.
pub fn random() -> String {
    let mut bytes = [0; 4];
    // Without randomness the process id still tells runs apart.
    if getrandom::fill(&mut bytes).is_err() {
        bytes = std::process::id().to_be_bytes();
    }
    hex(&bytes)
}

/// Bytes in hexadecimal, in lower case.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
