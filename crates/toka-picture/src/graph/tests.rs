use proptest::prelude::*;
use roxmltree::{Document, Node};

use super::*;

fn event(sequence: u64, kind: &str, parents: &[u64]) -> Event {
    Event {
        sequence,
        kind: kind.to_owned(),
        source: None,
        short_id: format!("id{sequence}"),
        details: vec![format!("{sequence} {kind}")],
        parents: parents.to_vec(),
        is_start: false,
    }
}

/// The elements with this class, in the order of the document.
fn of_class<'a, 'input>(
    document: &'a Document<'input>,
    class: &'static str,
) -> impl Iterator<Item = Node<'a, 'input>> {
    let all = document.descendants();
    all.filter(move |node| {
        let classes = node.attribute("class").unwrap_or_default();
        classes.split(' ').any(|one| one == class)
    })
}

fn texts(node: Node<'_, '_>) -> Vec<String> {
    let texts = node.children().filter(|node| node.has_tag_name("text"));
    texts
        .map(|node| node.text().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn boxes_have_kind_and_short_id_and_lines_lead_to_what_depends() {
    let mut start = event(4, "task.done", &[2, 3]);
    start.is_start = true;
    let events = [
        start,
        event(3, "work.right", &[1]),
        event(2, "work.left", &[1]),
        event(1, "task.created", &[]),
    ];
    let picture = svg("Lineage", &events).expect("drawn");
    let document = Document::parse(&picture).expect("well-formed");
    let boxes: Vec<_> = of_class(&document, "event").map(texts).collect();
    assert_eq!(
        boxes,
        [
            ["1 task.created", "id1"],
            ["2 work.left", "id2"],
            ["3 work.right", "id3"],
            ["4 task.done", "id4"],
        ]
    );
    assert_eq!(of_class(&document, "edge").count(), 4);
    let start: Vec<_> = of_class(&document, "start").collect();
    assert_eq!(start.len(), 1);
    assert_eq!(start[0].attribute("id"), Some("e4"));
    let title = start[0]
        .first_element_child()
        .and_then(|title| title.text());
    assert_eq!(title, Some("4 task.done"));
}

#[test]
fn narrow_graph_has_room_for_its_title() {
    let title = "What 01a220d8-9c23-7000-8000-003095911d1a depends on, and what depends on it";
    let picture = svg(title, &[event(1, "a", &[])]).expect("drawn");
    let document = Document::parse(&picture).expect("well-formed");
    let width = document.root_element().attribute("width");
    // 76 cells of 10 pixels, and the margins.
    assert_eq!(width, Some("808.0"));
}

#[test]
fn parents_that_are_not_there_are_said() {
    let events = [event(9, "a", &[1, 2]), event(8, "b", &[1])];
    let picture = svg("Lineage", &events).expect("drawn");
    let document = Document::parse(&picture).expect("well-formed");
    let boxes: Vec<_> = of_class(&document, "event").map(texts).collect();
    assert_eq!(
        boxes,
        [["8 b", "id8  +1 parent"], ["9 a", "id9  +2 parents"]]
    );
    assert_eq!(of_class(&document, "beyond").count(), 2);
    assert_eq!(of_class(&document, "edge").count(), 0);
}

#[test]
fn box_has_the_source_of_its_event() {
    let mut said = event(1, "a.b", &[]);
    said.source = Some("alice".to_owned());
    let mut empty = event(2, "a.c", &[1]);
    empty.source = Some(" ".to_owned());
    let picture = svg("Lineage", &[said, empty]).expect("drawn");
    let document = Document::parse(&picture).expect("well-formed");
    let boxes: Vec<_> = of_class(&document, "event").map(texts).collect();
    assert_eq!(boxes[0], ["1 a.b", "alice", "id1"]);
    assert_eq!(boxes[1], ["2 a.c", "id2"]);
    let heights: Vec<_> = of_class(&document, "event")
        .filter_map(|node| node.children().find(|node| node.has_tag_name("rect")))
        .filter_map(|rect| rect.attribute("height"))
        .collect();
    assert_eq!(heights, ["63.0", "63.0"]);
}

#[test]
fn border_has_the_colour_of_the_family() {
    let events = [event(1, "task.created", &[]), event(2, "task.done", &[1])];
    let picture = svg("Lineage", &events).expect("drawn");
    let document = Document::parse(&picture).expect("well-formed");
    let strokes: Vec<_> = of_class(&document, "event")
        .filter_map(|node| node.children().find(|node| node.has_tag_name("rect")))
        .filter_map(|rect| rect.attribute("stroke"))
        .collect();
    assert_eq!(strokes.len(), 2);
    assert!(strokes[0].starts_with('#'), "{strokes:?}");
    assert_eq!(strokes[0], strokes[1]);
}

#[test]
fn line_around_boxes_leaves_no_empty_room_at_the_right() {
    // The long edge goes around the middle one of a chain, on one side or the other.
    let events = [
        event(1, "a", &[]),
        event(2, "a", &[1]),
        event(3, "a", &[1, 2]),
    ];
    let picture = svg("", &events).expect("drawn");
    let document = Document::parse(&picture).expect("well-formed");
    let width = document.root_element().attribute("width");
    let width: f64 = width.and_then(|width| width.parse().ok()).expect("a width");
    let ends = of_class(&document, "event")
        .filter_map(|node| node.children().find(|node| node.has_tag_name("rect")))
        .filter_map(|rect| rect.attribute("x")?.parse::<f64>().ok())
        .map(|left| left + SIZES.node_width);
    let needed = ends.fold(0.0, f64::max) + 2.0 * MARGIN;
    // Whole pixels.
    assert!(width < needed + 1.1, "{width} of {needed}");
}

#[test]
fn too_many_events_are_refused_with_the_bound() {
    let many: Vec<_> = (0..=EVENTS_MAX as u64)
        .map(|sequence| event(sequence, "a", &[]))
        .collect();
    let refused = svg("Lineage", &many).expect_err("too many");
    assert_eq!(
        refused.to_string(),
        "2001 events are too many for a picture: at most 2000 are drawn"
    );
}

#[test]
fn event_that_depends_on_a_later_one_is_refused() {
    let events = [event(1, "a", &[2]), event(2, "a", &[])];
    assert!(matches!(
        svg("Lineage", &events),
        Err(Error::Backwards {
            event: 1,
            parent: 2
        })
    ));
}

fn any_events() -> impl Strategy<Value = Vec<Event>> {
    let one = (
        any::<String>(),
        prop::option::of(any::<String>()),
        any::<String>(),
        prop::collection::vec(any::<String>(), 0..3),
        prop::collection::btree_set(0_u64..30, 0..4),
        any::<bool>(),
    );
    prop::collection::vec(one, 0..30).prop_map(|all| {
        let numbered = (0_u64..).zip(all);
        let events = numbered.map(|(sequence, parts)| {
            let (kind, source, short_id, details, parents, is_start) = parts;
            Event {
                sequence,
                kind,
                source,
                short_id,
                details,
                parents: parents.into_iter().filter(|of| *of < sequence).collect(),
                is_start,
            }
        });
        events.collect()
    })
}

proptest! {
    #[test]
    fn graph_is_well_formed_and_inside_its_canvas_whatever_it_is_told(
        events in any_events(),
        title in any::<String>(),
    ) {
        let picture = svg(&title, &events).expect("drawn");
        prop_assert_eq!(svg(&title, &events).expect("drawn"), picture.clone());
        let document = Document::parse(&picture);
        prop_assert!(document.is_ok(), "{:?} in {}", document.err(), picture);
        let document = document.expect("checked");
        let number = |node: Node<'_, '_>, attribute: &str| -> f64 {
            let value = node.attribute(attribute).expect("it has one");
            value.parse().expect("a number")
        };
        let root = document.root_element();
        let (width, height) = (number(root, "width"), number(root, "height"));
        let boxes: Vec<_> = of_class(&document, "event").collect();
        prop_assert_eq!(boxes.len(), events.len());
        for node in boxes {
            let found = node.children().find(|node| node.tag_name().name() == "rect");
            let rect = found.expect("it has one");
            let right = number(rect, "x") + number(rect, "width") + MARGIN;
            let bottom = number(rect, "y") + number(rect, "height") + MARGIN + HEADER;
            prop_assert!(number(rect, "x") >= 0.0 && right <= width, "{}", picture);
            prop_assert!(number(rect, "y") >= 0.0 && bottom <= height, "{}", picture);
        }
        let known = ["svg", "style", "rect", "text", "g", "title", "path"];
        for node in document.descendants().filter(Node::is_element) {
            prop_assert!(known.contains(&node.tag_name().name()), "{}", picture);
        }
    }
}
