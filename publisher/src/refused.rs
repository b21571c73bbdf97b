//! The last pushes that were refused, with what their callers were told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use campanile_messages::inquiry::{MAX_REFUSED_PUSHES, RefusedPush};

/// How long a sentence is shown, in bytes. Those that quote nothing of the caller are shorter.
const MAX_SENTENCE_BYTES: usize = 300;

/// The most entries of one key; pushes without a key are one, too. Otherwise callers whom nobody knows would push
/// out what the callers of keys were told.
const MAX_OF_KEY: usize = 10;

/// How long the name of a key is shown, in bytes.
const MAX_KEY_BYTES: usize = 100;

/// The last pushes that were refused: at most [`MAX_REFUSED_PUSHES`], and [`MAX_OF_KEY`] of one key, with at most 400 bytes each. Clones
/// are the same ones.
#[derive(Debug, Clone, Default)]
pub struct RefusedPushes(Arc<Mutex<VecDeque<RefusedPush>>>);

impl RefusedPushes {
    /// Adds `count` pushes that were refused now, for the same reason. Those that are refused for the same
    /// reason as the last ones are added to these.
    pub fn add(&self, kind: &str, status: u16, key: &str, sentence: &str, count: u64) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let unix_millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let (key, sentence) = (cut(key, MAX_KEY_BYTES), cut(sentence, MAX_SENTENCE_BYTES));
        // Every change is complete before anything can panic.
        let mut refused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = refused.back_mut()
            && last.kind == kind
            && last.status == status
            && last.key == key
            && last.sentence == sentence
        {
            last.count += count;
            last.unix_millis = unix_millis;
            return;
        }
        let is_of_key = |push: &RefusedPush| push.key == key;
        if refused.iter().filter(|push| is_of_key(push)).count() >= MAX_OF_KEY {
            refused.iter().position(is_of_key).and_then(|oldest| refused.remove(oldest));
        }
        if refused.len() >= MAX_REFUSED_PUSHES {
            refused.pop_front();
        }
        refused.push_back(RefusedPush {
            unix_millis,
            status,
            kind: kind.to_owned(),
            key: key.to_owned(),
            sentence: sentence.to_owned(),
            count,
        });
    }

    /// All of them, oldest first.
    pub fn list(&self) -> Vec<RefusedPush> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// The beginning of a text, with at most this many bytes.
fn cut(text: &str, max_bytes: usize) -> &str {
    &text[..text.floor_char_boundary(max_bytes)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_refused_pushes_are_kept_and_cut() {
        let refused = RefusedPushes::default();
        for n in 0..MAX_REFUSED_PUSHES + 3 {
            let key = format!("shop-{n}");
            refused.add("push", 400, &key, &format!("{n} {}", "\u{e9}".repeat(500)), 1);
        }
        let listed = refused.list();
        assert_eq!(listed.len(), MAX_REFUSED_PUSHES);
        assert!(listed[0].sentence.starts_with("3 \u{e9}"), "{}", listed[0].sentence);
        assert!(listed.iter().all(|push| push.sentence.len() <= MAX_SENTENCE_BYTES));
        assert!(listed[0].sentence.ends_with('\u{e9}'));
    }

    #[test]
    fn callers_without_a_key_do_not_push_out_those_with_one() {
        let refused = RefusedPushes::default();
        refused.add("push", 403, "shop", "it may not", 1);
        for n in 0..1_000 {
            refused.add("push", 401, "", &format!("no {n}"), 1);
        }
        let listed = refused.list();
        assert_eq!(listed.len(), 1 + MAX_OF_KEY);
        assert_eq!(listed[0].key, "shop");
        assert_eq!(listed[MAX_OF_KEY].sentence, "no 999");
    }

    #[test]
    fn pushes_in_a_row_that_are_refused_alike_are_one_entry() {
        let refused = RefusedPushes::default();
        for status in [400, 400, 413] {
            refused.add("batch", status, "", "no", 2);
        }
        refused.add("batch", 413, "other", "no", 1);
        let counts: Vec<_> =
            refused.list().into_iter().map(|push| (push.status, push.count)).collect();
        assert_eq!(counts, [(400, 4), (413, 2), (413, 1)]);
    }
}
