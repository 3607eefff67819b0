//! Cuts one JSON document into its records while it streams by: an array, a wrapper object (`records`, `Results`), or
//! objects one after another, over any number of lines. Bounded memory: one element at most. Refuses to hold: what a
//! record means, and full JSON grammar (the decoder checks each element; only brackets, strings and commas count here).
//!
//! `{"Schema":[..],"Results":[ {..}, {..} ]}` = two records; `[ {..}, {..} ]` = two; `{..} {..}` = two.
//!
//! A damaged element costs itself: strings hold no line feeds, brackets match and a string is followed by punctuation,
//! so damage shows soon. The next element is then the next line that opens one no deeper than the damaged one began,
//! or what follows `},{"` on the same line. A line that was cut before a value takes the next line for that value; where
//! this turns out wrong, the scan goes back to that next line.

use memchr::memchr3;

use crate::chunk::LINE_BYTES_MAX;
use crate::record::Refusal;

/// Keys of a top-level object whose array holds the records.
pub(crate) const WRAPPER_KEYS: [&str; 3] = ["records", "Results", "results"];

/// What the splitter finds.
#[derive(Clone, Copy)]
pub(crate) enum Found<'a> {
    /// A record without line feeds, and the line on which it starts. An empty one stands for an empty array.
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
    /// After damage: waiting for the start of an element.
    Seeking,
}

/// The state of the splitter.
pub(crate) struct Document {
    place: Place,
    /// Between elements of an array, as against at the top.
    in_array: bool,
    /// Inside a wrapper object, as against in an array of its own.
    in_wrapper: bool,
    /// The line on which the array was opened.
    array_line: u64,
    /// The array has elements.
    has_elements: bool,
    /// How much of `},{"` was just seen, while seeking.
    sought: Sought,
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
    /// The first line in it that may be an element of its own, should this one turn out to be cut.
    restart: Option<Restart>,
}

/// A line inside an element that opens an object no deeper than the element began.
#[derive(Clone, Copy)]
struct Restart {
    /// In the bytes of the element.
    at: usize,
    line: u64,
    column: usize,
}

/// What was just seen of `},{"`, white space aside.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Sought {
    #[default]
    Nothing,
    Brace,
    Comma,
    /// The whole but for the quote, and where its last brace is.
    Start {
        column: usize,
        line: u64,
    },
}

/// What became of a byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Taken,
    /// It has to be looked at again, in another place.
    Again,
    /// So many bytes before it, too.
    Back(usize),
}

/// The deepest nesting in which a cut line is looked for; the decoder refuses deeper ones anyway.
const RESTART_DEPTH_MAX: usize = 64;

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
            array_line: 0,
            has_elements: false,
            sought: Sought::Nothing,
            element: Element::default(),
            line: 1,
            column: 0,
            at_line_start: true,
        }
    }

    /// Before an element of an array on one line, whose start is behind us.
    pub(crate) fn inside(in_wrapper: bool) -> Document {
        Document { in_array: true, in_wrapper, array_line: 1, has_elements: true, ..Document::new() }
    }

    /// The line at which it stands.
    pub(crate) fn line(&self) -> u64 {
        self.line
    }

    /// Takes more of the document.
    pub(crate) fn push(&mut self, bytes: &[u8], found: &mut impl FnMut(Found<'_>)) {
        let (mut bytes, mut at) = (bytes, 0);
        let mut again: Vec<u8>;
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
            let step = match self.place {
                Place::Between => self.between(byte, found),
                Place::Element => self.element_byte(byte, found),
                Place::Stray => self.stray(byte, found),
                Place::Seeking => self.seek(byte),
            };
            match step {
                Step::Taken => {
                    self.advance(byte);
                    at += 1;
                }
                Step::Again => {}
                Step::Back(length) if length <= at => at -= length,
                Step::Back(length) => {
                    // What lies before these bytes is still in the element.
                    let kept = self.element.bytes.len().saturating_sub(length);
                    let before = self.element.bytes.get(kept..).unwrap_or_default();
                    again = [before, bytes.get(at..).unwrap_or_default()].concat();
                    (bytes, at) = (&again, 0);
                }
            }
        }
    }

    /// Ends the document: whatever is open was cut.
    pub(crate) fn finish(&mut self, found: &mut impl FnMut(Found<'_>)) {
        while self.place == Place::Element
            && let Some(restart) = self.element.restart
        {
            let rest = self.element.bytes.get(restart.at..).unwrap_or_default().to_vec();
            self.damage(found);
            self.push(&rest, found);
        }
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

    fn between(&mut self, byte: u8, found: &mut impl FnMut(Found<'_>)) -> Step {
        match byte {
            byte if is_space(byte) || byte == b',' => Step::Taken,
            // A byte order mark; nothing else begins so that could be a record.
            0xef | 0xbb | 0xbf => Step::Taken,
            b']' if self.in_array => {
                self.in_array = false;
                if !self.has_elements {
                    found(Found::Element(b"", self.line));
                }
                if self.in_wrapper {
                    self.open(Role::Remainder);
                    // The brace that opened the wrapper is long gone; the scan goes on inside it.
                    self.element.enter(b'{');
                    self.element.previous = b']';
                }
                Step::Taken
            }
            b'[' if !self.in_array => {
                self.open_array(false);
                Step::Taken
            }
            b'{' | b'[' => {
                self.open(if self.in_array { Role::Record } else { Role::Candidate });
                self.element_byte(byte, found)
            }
            _ => {
                self.open(Role::Record);
                self.place = Place::Stray;
                self.element.keep_byte(byte);
                Step::Taken
            }
        }
    }

    fn open_array(&mut self, in_wrapper: bool) {
        self.place = Place::Between;
        self.in_array = true;
        self.in_wrapper = in_wrapper;
        self.array_line = self.line;
        self.has_elements = false;
    }

    fn open(&mut self, role: Role) {
        let mut bytes = std::mem::take(&mut self.element.bytes);
        bytes.clear();
        self.element = Element { bytes, line: self.line, column: self.column, role, ..Element::default() };
        self.place = Place::Element;
        self.has_elements = true;
    }

    /// A byte of an element.
    fn element_byte(&mut self, byte: u8, found: &mut impl FnMut(Found<'_>)) -> Step {
        let element = &mut self.element;
        if element.in_string {
            return self.string_byte(byte, found);
        }
        if element.is_out_of_place(byte) {
            return self.damage_at(byte, found);
        }
        match byte {
            b'"' => {
                element.in_string = true;
                element.keep(b"\"");
                element.last_string.0 = element.bytes.len();
            }
            b'{' | b'[' => {
                if !element.may_open() {
                    return self.damage_at(byte, found);
                }
                if element.opens_wrapper(byte) {
                    self.open_array(true);
                    return Step::Taken;
                }
                if self.at_line_start {
                    element.mark_restart(byte, self.line, self.column);
                }
                if element.restart.is_some() && element.depth >= RESTART_DEPTH_MAX {
                    return self.damage_at(byte, found);
                }
                element.keep_byte(byte);
                element.enter(byte);
            }
            b'}' | b']' => {
                if !element.leave(byte) {
                    return self.damage_at(byte, found);
                }
                element.keep_byte(byte);
                if element.depth == 0 {
                    self.emit(found);
                    return Step::Taken;
                }
            }
            byte => element.keep_byte(byte),
        }
        if !is_space(byte) {
            self.element.previous = byte;
        }
        Step::Taken
    }

    fn string_byte(&mut self, byte: u8, found: &mut impl FnMut(Found<'_>)) -> Step {
        let element = &mut self.element;
        match byte {
            b'\n' => return self.damage_at(byte, found),
            _ if element.escaping => element.escaping = false,
            b'\\' => element.escaping = true,
            b'"' => {
                element.in_string = false;
                element.last_string.1 = element.bytes.len();
            }
            _ => {}
        }
        element.keep_byte(byte);
        Step::Taken
    }

    /// Hands out the element that is complete.
    fn emit(&mut self, found: &mut impl FnMut(Found<'_>)) {
        let element = &mut self.element;
        if element.line != self.line {
            // A record has no line feeds, so that records can be told apart by them.
            element.bytes.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b' ');
        }
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

    /// A byte showed that the element is damaged.
    fn damage_at(&mut self, byte: u8, found: &mut impl FnMut(Found<'_>)) -> Step {
        let previous = self.element.previous;
        let step = self.damage(found);
        if step == Step::Again {
            // `,{` where the brace before the comma was lost is as good as `},{`.
            self.sought = if byte == b'{' && previous == b',' { Sought::Comma } else { Sought::Nothing };
        }
        step
    }

    /// The element is damaged: back to the line at which the next one may start, or on to where one does.
    fn damage(&mut self, found: &mut impl FnMut(Found<'_>)) -> Step {
        found(Found::Damaged(Refusal::BadJson, self.element.line));
        let Some(restart) = self.element.restart else {
            self.place = Place::Seeking;
            return Step::Again;
        };
        self.place = Place::Between;
        (self.line, self.column, self.at_line_start) = (restart.line, restart.column, true);
        Step::Back(self.element.bytes.len().saturating_sub(restart.at))
    }

    /// A stray word ends where the next element may start.
    fn stray(&mut self, byte: u8, found: &mut impl FnMut(Found<'_>)) -> Step {
        if matches!(byte, b'\n' | b',' | b']' | b'{') {
            self.emit(found);
            return Step::Again;
        }
        self.element.keep_byte(byte);
        Step::Taken
    }

    fn seek(&mut self, byte: u8) -> Step {
        let starts = matches!(byte, b'{' | b'[') || (byte == b']' && self.in_array);
        if self.at_line_start && starts && self.column <= self.element.column {
            self.place = Place::Between;
            return Step::Again;
        }
        if byte == b'\n' {
            self.end_array_on_one_line();
        }
        if is_space(byte) {
            return Step::Taken;
        }
        self.element.previous = byte;
        self.sought = match (self.sought, byte) {
            (Sought::Start { column, line }, b'"') => {
                self.open(Role::Record);
                (self.element.column, self.element.line) = (column, line);
                self.element.keep(b"{");
                self.element.enter(b'{');
                self.element.previous = b'{';
                return Step::Again;
            }
            (_, b'}') => Sought::Brace,
            (Sought::Brace, b',') => Sought::Comma,
            (Sought::Comma, b'{') => Sought::Start { column: self.column, line: self.line },
            _ => Sought::Nothing,
        };
        Step::Taken
    }

    /// An array that was opened on the line that ends here is over if the line ends as it would.
    fn end_array_on_one_line(&mut self) {
        let end = if self.in_wrapper { b'}' } else { b']' };
        if self.in_array && self.array_line == self.line && self.element.previous == end {
            (self.in_array, self.in_wrapper) = (false, false);
            self.place = Place::Between;
        }
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
            self.restart = None;
            return;
        }
        self.bytes.extend_from_slice(bytes);
    }

    #[inline]
    fn keep_byte(&mut self, byte: u8) {
        if self.role == Role::Remainder || self.is_too_long || self.bytes.len() >= LINE_BYTES_MAX {
            self.keep(&[byte]);
        } else {
            self.bytes.push(byte);
        }
    }

    /// In an object only a colon can stand before a container: otherwise a brace was lost.
    const fn may_open(&self) -> bool {
        let in_object = self.depth > 0 && self.kinds & 1 == 1;
        !in_object || self.previous == b':'
    }

    /// Whether a byte outside of strings cannot stand where it does: a quote was lost, or the rest of the element.
    const fn is_out_of_place(&self, byte: u8) -> bool {
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => false,
            b'"' => !matches!(self.previous, b'{' | b'[' | b',' | b':'),
            _ => self.previous == b'"' && !matches!(byte, b',' | b':' | b'}' | b']'),
        }
    }

    /// Remembers a line that opens an object where this element has none yet, if it may be an element of its own.
    fn mark_restart(&mut self, byte: u8, line: u64, column: usize) {
        let may_be_one = byte == b'{'
            && self.depth > 0
            && line > self.line
            && column <= self.column
            && self.role != Role::Remainder
            && !self.is_too_long;
        if may_be_one && self.restart.is_none() {
            self.restart = Some(Restart { at: self.bytes.len(), line, column });
        }
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
