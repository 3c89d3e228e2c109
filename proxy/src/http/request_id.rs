//! Ids of requests: 32 hexadecimal digits that nobody can guess.
//!
//! Chance is asked of the system for many ids at once, since asking is a system call.

use std::cell::RefCell;

/// How many ids one call to the system gives.
const BATCH: usize = 64;

thread_local! {
    static CHANCE: RefCell<Vec<[u8; 16]>> = const { RefCell::new(Vec::new()) };
}

/// The id of the next request.
#[must_use]
pub fn next() -> Box<str> {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = CHANCE.with_borrow_mut(|left| left.pop().unwrap_or_else(|| refill(left)));
    let mut id = String::with_capacity(32);
    for byte in bytes {
        id.push(char::from(HEX[usize::from(byte >> 4)]));
        id.push(char::from(HEX[usize::from(byte & 15)]));
    }
    id.into_boxed_str()
}

fn refill(left: &mut Vec<[u8; 16]>) -> [u8; 16] {
    let mut chance = [[0; 16]; BATCH];
    match rustls::crypto::aws_lc_rs::default_provider()
        .secure_random
        .fill(chance.as_flattened_mut())
    {
        Ok(()) => {
            left.extend_from_slice(&chance[1..]);
            chance[0]
        }
        // A system without chance fails here loudly, as it does wherever else an id is made.
        Err(_) => uuid::Uuid::new_v4().into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_32_hexadecimal_digits_and_differ() {
        let ids = (0..3 * BATCH).map(|_| next()).collect::<std::collections::HashSet<_>>();
        assert_eq!(ids.len(), 3 * BATCH);
        let is_id = |id: &str| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        assert!(ids.iter().all(|id| is_id(id) && *id.to_ascii_lowercase() == **id));
    }
}
