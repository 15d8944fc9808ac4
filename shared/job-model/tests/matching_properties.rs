//! The wildcard matcher against a slow one that is plainly right, and the laws of selections.

use std::collections::BTreeMap;

use job_model::{Condition, Conditions, conditions_hold, wildcard_matches};
use proptest::prelude::*;

/// Tries every way a star can be read.
fn plainly_matches(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|taken| plainly_matches(rest, &text[taken..])),
        Some((byte, rest)) => {
            text.split_first().is_some_and(|(first, others)| first == byte && plainly_matches(rest, others))
        }
    }
}

fn conditions() -> impl Strategy<Value = Vec<Condition>> {
    prop::collection::vec(("[ab]", "[xy*]{0,3}").prop_map(|(key, value)| Condition { key, value }), 0..3)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_matcher_agrees_with_trying_everything(pattern in "[ab*]{0,8}", text in "[ab]{0,10}") {
        prop_assert_eq!(wildcard_matches(&pattern, &text), plainly_matches(pattern.as_bytes(), text.as_bytes()));
    }

    #[test]
    fn a_pattern_made_from_a_text_matches_it(
        text in "[a-zé:/]{0,20}",
        cuts in prop::collection::vec((0_usize..20, 0_usize..20), 0..4),
    ) {
        let mut starred: Vec<char> = text.chars().collect();
        for (a, b) in cuts {
            starred.iter_mut().take(a.max(b)).skip(a.min(b)).for_each(|c| *c = '*');
        }
        let pattern: String = starred.into_iter().collect();
        prop_assert!(wildcard_matches(&pattern, &text), "{} {}", pattern, text);
    }

    #[test]
    fn a_text_without_stars_matches_only_itself(a in "[ab]{0,5}", b in "[ab]{0,5}") {
        prop_assert_eq!(wildcard_matches(&a, &b), a == b);
    }

    #[test]
    fn the_negated_conditions_are_the_negation_of_each(
        given in conditions(),
        tags in prop::collection::btree_map("[ab]", "[xy]{0,3}", 0..3),
    ) {
        for condition in given {
            let alone = |build: fn(Vec<Condition>) -> Conditions| conditions_hold(&build(vec![condition.clone()]), &tags);
            prop_assert_ne!(
                alone(|c| Conditions { string_equals: c, ..Conditions::default() }),
                alone(|c| Conditions { string_not_equals: c, ..Conditions::default() })
            );
            prop_assert_ne!(
                alone(|c| Conditions { string_like: c, ..Conditions::default() }),
                alone(|c| Conditions { string_not_like: c, ..Conditions::default() })
            );
        }
    }

    #[test]
    fn another_condition_never_adds_a_resource(
        equals in conditions(),
        like in conditions(),
        more in conditions(),
        tags in prop::collection::btree_map("[ab]", "[xy]{0,3}", 0..3),
    ) {
        let tags: BTreeMap<String, String> = tags;
        let fewer = Conditions { string_equals: equals, string_like: like, ..Conditions::default() };
        let narrower = Conditions { string_not_like: more, ..fewer.clone() };
        prop_assert!(!conditions_hold(&narrower, &tags) || conditions_hold(&fewer, &tags));
    }
}
