use proptest::prelude::*;
use roxmltree::{Document, Node};

use super::*;

fn bubble(intent: u64, events: u64, centre: &[f32]) -> Bubble {
    Bubble {
        intent,
        events,
        centre: centre.to_vec(),
        ..Bubble::default()
    }
}

fn map(bubbles: Vec<Bubble>) -> Map {
    Map {
        title: "Intents".to_owned(),
        bubbles,
        notes: Vec::new(),
    }
}

/// The elements of this name, in the order of the document.
fn elements<'a, 'input>(
    document: &'a Document<'input>,
    name: &'static str,
) -> impl Iterator<Item = Node<'a, 'input>> {
    let all = document.descendants();
    all.filter(move |node| node.tag_name().name() == name)
}

fn number(node: &Node<'_, '_>, attribute: &str) -> f64 {
    let value = node.attribute(attribute).expect("it has one");
    value.parse().expect("a number")
}

fn titles(document: &Document<'_>) -> Vec<String> {
    elements(document, "title")
        .map(|node| node.text().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn area_of_a_circle_is_its_number_of_events() {
    let bubbles = vec![
        bubble(1, 25, &[0.0, 1.0]),
        bubble(2, 100, &[1.0, 0.0]),
        bubble(3, 1, &[1.0, 1.0]),
    ];
    let document = svg(&map(bubbles)).expect("drawn");
    let document = Document::parse(&document).expect("well-formed");
    let radii: Vec<f64> = elements(&document, "circle")
        .map(|circle| number(&circle, "r"))
        .collect();
    assert_eq!(radii, [46.0, 23.0, 4.6]);
}

#[test]
fn intents_of_like_meaning_are_near_each_other() {
    let bubbles = vec![
        bubble(1, 9, &[1.0, 0.0, 0.0]),
        bubble(2, 8, &[1.0, 0.1, 0.0]),
        bubble(3, 7, &[0.0, 0.0, 1.0]),
    ];
    let document = svg(&map(bubbles)).expect("drawn");
    let document = Document::parse(&document).expect("well-formed");
    let centres: Vec<(f64, f64)> = elements(&document, "circle")
        .map(|circle| (number(&circle, "cx"), number(&circle, "cy")))
        .collect();
    let distance = |a: usize, b: usize| {
        let ((ax, ay), (bx, by)) = (centres[a], centres[b]);
        (ax - bx).hypot(ay - by)
    };
    assert!(distance(0, 1) * 3.0 < distance(0, 2), "{centres:?}");
}

#[test]
fn hovering_tells_label_events_and_examples() {
    let mut labelled = bubble(7, 1, &[1.0, 0.0]);
    labelled.label = Some("greetings".to_owned());
    labelled.facts = vec!["coherence 0.40".to_owned()];
    labelled.examples = vec!["hello".to_owned(), "good day".to_owned()];
    labelled.is_tentative = true;
    let document = svg(&map(vec![labelled])).expect("drawn");
    let document = Document::parse(&document).expect("well-formed");
    let expected = "intent 7: greetings\n1 event\ntentative\ncoherence 0.40\n· hello\n· good day";
    assert_eq!(titles(&document), [expected]);
}

#[test]
fn intent_is_called_by_its_label_or_by_what_is_typical_or_by_its_id() {
    let mut labelled = bubble(1, 3, &[1.0, 0.0]);
    labelled.label = Some("a label".to_owned());
    labelled.typical = Some("not this".to_owned());
    let mut typical = bubble(2, 2, &[0.0, 1.0]);
    typical.typical = Some("an example".to_owned());
    let bare = bubble(3, 1, &[-1.0, 0.0]);
    let document = svg(&map(vec![labelled, typical, bare])).expect("drawn");
    let document = Document::parse(&document).expect("well-formed");
    let names: Vec<_> = elements(&document, "text")
        .filter(|node| node.attribute("class") == Some("name"))
        .filter_map(|node| node.text())
        .collect();
    assert_eq!(names, ["a label", "an example", "intent 3"]);
}

#[test]
fn names_do_not_stand_on_each_other() {
    let bubbles = (0..50).map(|intent| bubble(intent, 10, &[1.0, 0.0]));
    let document = svg(&map(bubbles.collect())).expect("drawn");
    let document = Document::parse(&document).expect("well-formed");
    assert_eq!(elements(&document, "circle").count(), 50);
    let names = elements(&document, "text");
    let names = names.filter(|node| node.attribute("class") == Some("name"));
    // On the circles, below them, and above them.
    let mut lines: Vec<f64> = names.map(|node| number(&node, "y")).collect();
    lines.sort_by(f64::total_cmp);
    assert_eq!(lines.len(), 3);
    assert!(lines.is_sorted_by(|a, b| b - a >= 15.0), "{lines:?}");
}

#[test]
fn name_without_room_below_its_circle_stands_above_it_or_is_cut_to_fit_on_it() {
    let bubbles = (0..4).map(|intent| Bubble {
        label: Some("turn the kitchen light on".to_owned()),
        ..bubble(intent, 10, &[1.0, 0.0])
    });
    let document = svg(&map(bubbles.collect())).expect("drawn");
    let document = Document::parse(&document).expect("well-formed");
    let circle = elements(&document, "circle").next().expect("it is there");
    let middle = number(&circle, "cy");
    let names: Vec<(f64, &str)> = elements(&document, "text")
        .filter(|node| node.attribute("class") == Some("name"))
        .map(|node| {
            let text = node.text().unwrap_or_default();
            (number(&node, "y") - middle, text)
        })
        .collect();
    let texts: Vec<&str> = names.iter().map(|name| name.1).collect();
    let whole = "turn the kitchen light on";
    assert_eq!(texts, [whole, whole, "turn the kit…"]);
    assert!(names[0].0 > 46.0, "below: {names:?}");
    assert!(names[1].0 < -46.0, "above: {names:?}");
    assert!(names[2].0.abs() < 8.0, "on it: {names:?}");
}

#[test]
fn page_has_a_panel_for_each_intent_and_no_way_to_run_anything() {
    let mut hostile = bubble(4, 10, &[1.0, 0.0]);
    hostile.label = Some("</title></svg><script>alert(1)</script>".to_owned());
    hostile.examples = vec!["<img src=x onerror=alert(1)>".to_owned()];
    let page = page(&map(vec![hostile, bubble(5, 3, &[0.0, 1.0])])).expect("drawn");
    assert!(page.contains("<section id=\"p4\">") && page.contains("<section id=\"p5\">"));
    assert!(page.contains("#i4:hover") && page.contains("default-src 'none'"));
    assert!(
        !page.contains("<script") && !page.contains("<img"),
        "{page}"
    );
    // The name of SVG itself is the only address.
    assert_eq!(page.matches("://").count(), 1);
}

#[test]
fn nothing_is_a_map_too() {
    let document = svg(&map(Vec::new())).expect("drawn");
    let document = Document::parse(&document).expect("well-formed");
    assert_eq!(elements(&document, "circle").count(), 0);
}

#[test]
fn too_many_intents_are_refused_with_the_bound() {
    let many = (0..=INTENTS_MAX as u64).map(|intent| bubble(intent, 1, &[1.0]));
    let refused = svg(&map(many.collect())).expect_err("too many");
    assert_eq!(
        refused.to_string(),
        "1001 intents are too many for a picture: at most 1000 are drawn"
    );
}

#[test]
fn centres_without_a_place_are_refused_by_their_intent() {
    let other = svg(&map(vec![bubble(1, 2, &[1.0, 0.0]), bubble(2, 1, &[1.0])]));
    assert!(
        matches!(
            other,
            Err(Error::Dimension {
                intent: 2,
                expected: 2,
                actual: 1
            })
        ),
        "{other:?}"
    );
    let nowhere = svg(&map(vec![bubble(3, 1, &[0.5, f32::NAN])]));
    assert!(
        matches!(
            nowhere,
            Err(Error::NotFinite {
                intent: 3,
                index: 1
            })
        ),
        "{nowhere:?}"
    );
}

fn any_bubbles() -> impl Strategy<Value = Vec<Bubble>> {
    let texts = || prop::collection::vec(any::<String>(), 0..3);
    let one = (
        any::<u64>(),
        prop::option::of(any::<String>()),
        any::<bool>(),
        texts(),
        texts(),
        prop::collection::vec(-1.0_f32..1.0, 4),
    );
    prop::collection::vec(one, 0..20).prop_map(|all| {
        let numbered = (0..).zip(all);
        let bubbles = numbered.map(|(intent, parts)| {
            let (events, label, is_tentative, facts, examples, centre) = parts;
            Bubble {
                intent,
                label,
                events,
                is_tentative,
                typical: facts.first().cloned(),
                facts,
                examples,
                centre,
            }
        });
        bubbles.collect()
    })
}

proptest! {
    #[test]
    fn map_is_well_formed_and_inside_its_canvas_whatever_it_is_told(
        bubbles in any_bubbles(),
        title in any::<String>(),
        notes in prop::collection::vec(any::<String>(), 0..4),
    ) {
        let map = Map { title, bubbles, notes };
        let picture = svg(&map).expect("drawn");
        prop_assert_eq!(svg(&map).expect("drawn"), picture.clone());
        let document = Document::parse(&picture);
        prop_assert!(document.is_ok(), "{:?} in {}", document.err(), picture);
        let document = document.expect("checked");
        let root = document.root_element();
        let (width, height) = (number(&root, "width"), number(&root, "height"));
        let mut circles = 0;
        for circle in elements(&document, "circle") {
            let (x, y, r) = (number(&circle, "cx"), number(&circle, "cy"), number(&circle, "r"));
            prop_assert!(x - r >= 0.0 && x + r <= width, "{}", picture);
            prop_assert!(y - r >= 0.0 && y + r <= height, "{}", picture);
            circles += 1;
        }
        prop_assert_eq!(circles, map.bubbles.len());
        let known = ["svg", "style", "rect", "text", "line", "g", "title", "circle"];
        for node in document.descendants().filter(Node::is_element) {
            prop_assert!(known.contains(&node.tag_name().name()), "{}", picture);
        }
    }
}
