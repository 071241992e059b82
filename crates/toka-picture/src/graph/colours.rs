//! Colours of kinds: few enough that each is told from all others.

use std::collections::BTreeMap;

use super::Event;

/// Those of Okabe and Ito (*Color Universal Design*, 2008), which people who see few colours tell apart too, but for
/// black and yellow: each is seen on a light and on a dark ground.
const COLOURS: [&str; 7] = [
    "#0072b2", // blue
    "#e69f00", // orange
    "#009e73", // bluish green
    "#cc79a7", // reddish purple
    "#56b4e9", // sky blue
    "#d55e00", // vermilion
    "#8c959f", // grey
];

/// A colour for each family of kinds, by its first word. Its name decides, so that it has the same one in most pictures;
/// where that is taken the next one that is free, in the order of `events`. Further families share.
pub(super) fn by_family<'a>(events: &[&'a Event]) -> BTreeMap<&'a str, &'static str> {
    let mut colours = BTreeMap::new();
    let mut is_taken = [false; COLOURS.len()];
    for event in events {
        let family = family(&event.kind);
        if colours.contains_key(family) {
            continue;
        }
        let wanted = hash(family) as usize % COLOURS.len();
        let mut further = (0..COLOURS.len()).map(|step| (wanted + step) % COLOURS.len());
        let at = further.find(|at| !is_taken[*at]).unwrap_or(wanted);
        is_taken[at] = true;
        colours.insert(family, COLOURS[at]);
    }
    colours
}

/// The first word of a kind.
pub(super) fn family(kind: &str) -> &str {
    kind.split('.').next().unwrap_or(kind)
}

/// FNV-1a.
fn hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn events(kinds: &[&str]) -> Vec<Event> {
        let event = |kind: &&str| Event {
            kind: (*kind).to_owned(),
            ..Event::default()
        };
        kinds.iter().map(event).collect()
    }

    /// The colour of each kind.
    fn colours(kinds: &[&str]) -> Vec<&'static str> {
        let events = events(kinds);
        let events: Vec<&Event> = events.iter().collect();
        let colours = by_family(&events);
        let kinds = kinds.iter();
        kinds.map(|kind| colours[family(kind)]).collect()
    }

    #[test]
    fn families_of_kinds_look_alike_and_others_do_not() {
        let told = colours(&[
            "task.created",
            "work.step",
            "task.done",
            "tool.call",
            "task",
        ]);
        assert_eq!((told[0], told[0]), (told[2], told[4]));
        assert_ne!(told[0], told[1]);
        assert_ne!(told[0], told[3]);
        assert_ne!(told[1], told[3]);
    }

    #[test]
    fn as_many_families_as_there_are_colours_are_told_apart() {
        let kinds = ["a", "b", "c", "d", "e", "f", "g"];
        let told: BTreeSet<_> = colours(&kinds).into_iter().collect();
        assert_eq!(told.len(), COLOURS.len());
    }

    #[test]
    fn further_families_share_the_colours() {
        let kinds = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
        let told = colours(&kinds);
        assert_eq!(told[7], COLOURS[hash("h") as usize % COLOURS.len()]);
    }

    #[test]
    fn family_has_the_same_colour_whatever_comes_after_it() {
        assert_eq!(
            colours(&["task", "work"])[0],
            colours(&["task", "a", "b", "c"])[0]
        );
    }
}
