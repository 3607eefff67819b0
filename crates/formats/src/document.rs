//! Cuts one JSON document into its records while it streams by: an array, a wrapper object (`records`, `Results`), or
//! objects one after another, over any number of lines. Bounded memory: one element at most. Refuses to hold: what a
//! record means, and full JSON grammar (the decoder checks each element; only brackets, strings and commas count here).
//!
//! `{"Schema":[..],"Results":[ {..}, {..} ]}` = two records; `[ {..}, {..} ]` = two; `{..} {..}` = two.
//!
//! A damaged element costs itself: strings hold no line feeds and brackets match, so damage shows soon, and the next
//! line that opens an element no deeper than the damaged one began is taken as the next element.

use memchr::memchr3;

use crate::chunk::LINE_BYTES_MAX;
use crate::record::Refusal;

/// Keys of a top-level object whose array holds the records.
pub(crate) const WRAPPER_KEYS: [&str; 3] = ["records", "Results", "results"];

/// What the splitter finds.
#[derive(Clone, Copy)]
pub(crate) enum Found<'a> {
    /// A record without line feeds, and the line on which it starts.
    Element(&'a [u8], u64),
    /// A record that could not be cut out.
    Damaged(Refusal, u64),
}

/// Where in the document the splitter is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// Before an element, or after the last one.
    Between,
    /// Inside a record, or inside an object that may turn out to be a wrapper.
    Element,
    /// Inside something that is no container: a stray word or number.
    Stray,
    /// After damage: waiting for a line that starts an element.
    Seeking,
}

/// The state of the splitter.
pub(crate) struct Document {
    place: Place,
    /// Between elements of an array, as against at the top.
    in_array: bool,
    /// Inside a wrapper object, as against in an array of its own.
    in_wrapper: bool,
    element: Element,
    line: u64,
    /// Bytes since the last line feed.
    column: usize,
    /// Only white space since the last line feed.
    at_line_start: bool,
}

/// The element that is being collected.
#[derive(Default)]
struct Element {
    bytes: Vec<u8>,
    line: u64,
    column: usize,
    /// Open brackets. The kinds of the innermost 64 are in `kinds`, the innermost in the lowest bit; 1 = object.
    depth: usize,
    kinds: u64,
    in_string: bool,
    /// The last byte was a backslash in a string.
    escaping: bool,
    /// The last byte that was no white space, outside strings.
    previous: u8,
    /// The last string at depth 1, in `bytes`: the key if a colon follows.
    last_string: (usize, usize),
    role: Role,
    is_too_long: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Role {
    /// A record for certain.
    #[default]
    Record,
    /// An object at the top: a record unless it has a wrapper key.
    Candidate,
    /// What follows the records in a wrapper: skipped.
    Remainder,
}

impl Document {
    /// At the start of a document.
    pub(crate) fn new() -> Document {
        Document {
            place: Place::Between,
            in_array: false,
            in_wrapper: false,
            element: Element::default(),
            line: 1,
            column: 0,
            at_line_start: true,
        }
    }

    /// Takes more of the document.
    pub(crate) fn push(&mut self, bytes: &[u8], found: &mut impl FnMut(Found<'_>)) {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if self.place == Place::Element && self.element.in_string && !self.element.escaping {
                let rest = bytes.get(at..).unwrap_or_default();
                let plain = memchr3(b'"', b'\\', b'\n', rest).unwrap_or(rest.len());
                self.element.keep(rest.get(..plain).unwrap_or_default());
                self.column += plain;
                at += plain;
                if plain > 0 {
                    continue;
                }
            }
            let taken = match self.place {
                Place::Between => self.between(byte, found),
                Place::Element => self.element_byte(byte, found),
                Place::Stray => self.stray(byte, found),
                Place::Seeking => self.seek(byte),
            };
            if taken {
                self.advance(byte);
                at += 1;
            }
        }
    }

    /// Ends the document: whatever is open was cut.
    pub(crate) fn finish(&mut self, found: &mut impl FnMut(Found<'_>)) {
        match self.place {
            Place::Stray => self.emit(found),
            Place::Element => found(Found::Damaged(Refusal::Truncated, self.element.line)),
            Place::Between if self.in_array => found(Found::Damaged(Refusal::Truncated, self.line)),
            Place::Between | Place::Seeking => {}
        }
        *self = Document::new();
    }

    /// Ends a document that broke off: unlike at its end, a stray word may go on.
    pub(crate) fn break_off(&mut self, found: &mut impl FnMut(Found<'_>)) {
        if self.place == Place::Stray {
            self.place = Place::Element;
        }
        self.finish(found);
    }

    fn advance(&mut self, byte: u8) {
        if byte == b'\n' {
            self.line += 1;
            self.column = 0;
            self.at_line_start = true;
        } else {
            self.column += 1;
            self.at_line_start = self.at_line_start && is_space(byte);
        }
    }

    fn between(&mut self, byte: u8, found: &mut impl FnMut(Found<'_>)) -> bool {
        match byte {
            byte if is_space(byte) || byte == b',' => true,
            b']' if self.in_array => {
                self.in_array = false;
                if self.in_wrapper {
                    self.open(Role::Remainder);
                    // The brace that opened the wrapper is long gone; the scan goes on inside it.
                    self.element.enter(b'{');
                    self.element.previous = b']';
                }
                true
            }
            b'[' if !self.in_array => {
                self.in_array = true;
                self.in_wrapper = false;
                true
            }
            b'{' | b'[' => {
                self.open(if self.in_array { Role::Record } else { Role::Candidate });
                self.element_byte(byte, found)
            }
            _ => {
                self.open(Role::Record);
                self.place = Place::Stray;
                self.element.keep(&[byte]);
                true
            }
        }
    }

    fn open(&mut self, role: Role) {
        let mut bytes = std::mem::take(&mut self.element.bytes);
        bytes.clear();
        self.element = Element { bytes, line: self.line, column: self.column, role, ..Element::default() };
        self.place = Place::Element;
    }

    /// A byte of an element; `false` if it has to be looked at again in another place.
    fn element_byte(&mut self, byte: u8, found: &mut impl FnMut(Found<'_>)) -> bool {
        let element = &mut self.element;
        if element.in_string {
            return self.string_byte(byte, found);
        }
        match byte {
            b'"' => {
                element.in_string = true;
                element.keep(b"\"");
                element.last_string.0 = element.bytes.len();
            }
            b'{' | b'[' => {
                if !element.may_open() {
                    self.damage(found);
                    return false;
                }
                if element.opens_wrapper(byte) {
                    self.place = Place::Between;
                    self.in_array = true;
                    self.in_wrapper = true;
                    return true;
                }
                element.keep(&[byte]);
                element.enter(byte);
            }
            b'}' | b']' => {
                if !element.leave(byte) {
                    self.damage(found);
                    return true;
                }
                element.keep(&[byte]);
                if element.depth == 0 {
                    self.emit(found);
                    return true;
                }
            }
            // A record has no line feeds here, so that records can be told apart by them.
            b'\n' | b'\r' => element.keep(b" "),
            byte => element.keep(&[byte]),
        }
        if !is_space(byte) {
            self.element.previous = byte;
        }
        true
    }

    fn string_byte(&mut self, byte: u8, found: &mut impl FnMut(Found<'_>)) -> bool {
        let element = &mut self.element;
        match byte {
            b'\n' => {
                self.damage(found);
                return true;
            }
            _ if element.escaping => element.escaping = false,
            b'\\' => element.escaping = true,
            b'"' => {
                element.in_string = false;
                element.last_string.1 = element.bytes.len();
            }
            _ => {}
        }
        element.keep(&[byte]);
        true
    }

    /// Hands out the element that is complete.
    fn emit(&mut self, found: &mut impl FnMut(Found<'_>)) {
        let element = &self.element;
        if element.is_too_long {
            found(Found::Damaged(Refusal::LineTooLong, element.line));
        } else if element.role != Role::Remainder {
            found(Found::Element(&element.bytes, element.line));
        }
        self.place = Place::Between;
        if self.element.role == Role::Remainder {
            self.in_wrapper = false;
        }
    }

    fn damage(&mut self, found: &mut impl FnMut(Found<'_>)) {
        found(Found::Damaged(Refusal::BadJson, self.element.line));
        self.place = Place::Seeking;
    }

    /// A stray word ends where the next element may start.
    fn stray(&mut self, byte: u8, found: &mut impl FnMut(Found<'_>)) -> bool {
        if matches!(byte, b'\n' | b',' | b']' | b'{') {
            self.emit(found);
            return false;
        }
        self.element.keep(&[if byte == b'\r' { b' ' } else { byte }]);
        true
    }

    fn seek(&mut self, byte: u8) -> bool {
        let starts = matches!(byte, b'{' | b'[') || (byte == b']' && self.in_array);
        if self.at_line_start && starts && self.column <= self.element.column {
            self.place = Place::Between;
            return false;
        }
        true
    }
}

impl Element {
    fn keep(&mut self, bytes: &[u8]) {
        if self.is_too_long || self.role == Role::Remainder && self.depth != 1 {
            return;
        }
        if self.role == Role::Remainder && self.bytes.len() > 4096 {
            // Only keys matter in a remainder.
            self.bytes.clear();
        }
        if self.bytes.len() + bytes.len() > LINE_BYTES_MAX {
            self.is_too_long = true;
            self.bytes = Vec::new();
            return;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// In an object only a colon can stand before a container: otherwise a brace was lost.
    const fn may_open(&self) -> bool {
        let in_object = self.depth > 0 && self.kinds & 1 == 1;
        !in_object || self.previous == b':'
    }

    /// Whether a bracket here opens the records of a wrapper.
    fn opens_wrapper(&self, byte: u8) -> bool {
        let key = || self.bytes.get(self.last_string.0..self.last_string.1).unwrap_or_default();
        byte == b'['
            && self.role != Role::Record
            && self.depth == 1
            && self.kinds & 1 == 1
            && WRAPPER_KEYS.iter().any(|wrapper| wrapper.as_bytes() == key())
    }

    const fn enter(&mut self, byte: u8) {
        self.depth += 1;
        self.kinds = self.kinds << 1 | (byte == b'{') as u64;
    }

    /// Closes the innermost bracket; `false` if it is of the other kind. Past 64 levels kinds are forgotten, and the
    /// decoder refuses the element anyway.
    const fn leave(&mut self, byte: u8) -> bool {
        if self.depth == 0 || (self.depth <= 64 && (self.kinds & 1 == 1) != (byte == b'}')) {
            return false;
        }
        self.depth -= 1;
        self.kinds >>= 1;
        true
    }
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}
