//! The program of the lock in the `reverse` scaffold: an answer of its own for every challenge.
//!
//! `solution/make.py` of the scaffold does the same for authors; a test holds them together.

/// Bytes per line of the file.
const LINE_BYTES: usize = 32;
/// Longest phrase that the lock can hold, in bytes.
pub(super) const MAX_PHRASE: usize = 199;

/// The program that opens for `phrase` only, in hex digits. What is over [`MAX_PHRASE`] is cut.
pub(super) fn program(phrase: &str) -> String {
    let mut steps = Vec::new();
    let mut length = 0_u8;
    for byte in phrase.bytes().take(MAX_PHRASE) {
        let (mask, shift) = (length.wrapping_mul(73).wrapping_add(41), length.wrapping_mul(17));
        let wanted = (byte ^ mask).wrapping_add(shift);
        steps.extend([0x10, length, 0x20, mask, 0x30, shift, 0x40, wanted]);
        length += 1;
    }
    steps.extend([0x50, length]);
    let mut text = String::new();
    for line in steps.chunks(LINE_BYTES) {
        text.extend(line.iter().map(|byte| format!("{byte:02x}")));
        text.push('\n');
    }
    text
}
