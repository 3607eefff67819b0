//! seenby
