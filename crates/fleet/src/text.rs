//! Numbers and addresses as digits, without the formatting machinery: a line is written in some hundred
//! nanoseconds. Refuses to hold: anything that escapes; the simulator's strings need none.

use std::io::Write as _;

use sighting::{Address, Second};

/// Appends a number in decimal.
pub(crate) fn number(out: &mut Vec<u8>, value: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut rest = value;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends a number below `10^width` in decimal with leading zeros.
pub(crate) fn padded<const WIDTH: usize>(out: &mut Vec<u8>, value: u32) {
    let mut digits = [b'0'; WIDTH];
    let mut rest = value;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out.extend_from_slice(&digits);
}

/// Appends an address, IPv4 as a dotted quad.
pub(crate) fn address(out: &mut Vec<u8>, address: Address) {
    if !address.is_v4() {
        // Writing to a vector cannot fail.
        let _ = write!(out, "{address}");
        return;
    }
    for (index, octet) in address.octets()[12..].iter().enumerate() {
        if index > 0 {
            out.push(b'.');
        }
        number(out, u64::from(*octet));
    }
}

/// Appends `2017-07-30T13:36:06`, without a zone.
pub(crate) fn instant(out: &mut Vec<u8>, second: Second) {
    let (year, month, day) = second.date();
    let of_day = second.of_day();
    padded::<4>(out, year as u32);
    for (separator, field) in
        [(b'-', month), (b'-', day), (b'T', of_day / 3600), (b':', of_day / 60 % 60), (b':', of_day % 60)]
    {
        out.push(separator);
        padded::<2>(out, field);
    }
}

/// Appends the low digits of a number in hexadecimal.
pub(crate) fn hex(out: &mut Vec<u8>, word: u64, digits: u32) {
    out.extend((0..digits).rev().map(|place| crate::device::HEX[(word >> (4 * place) & 15) as usize]));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(write: impl Fn(&mut Vec<u8>), expected: &str) {
        let mut out = Vec::new();
        write(&mut out);
        assert_eq!(str::from_utf8(&out), Ok(expected));
    }

    #[test]
    fn digits() {
        check(|out| number(out, 0), "0");
        check(|out| number(out, u64::MAX), "18446744073709551615");
        check(|out| padded::<6>(out, 17), "000017");
        check(|out| hex(out, 0xabc, 4), "0abc");
        check(|out| instant(out, Second::new(1_501_421_766)), "2017-07-30T13:36:06");
        for text in ["0.0.0.0", "203.0.113.10", "2001:db8::5", "::"] {
            check(|out| address(out, Address::parse(text).expect("valid")), text);
        }
    }
}
