use proptest::prelude::*;

use super::*;

const SIZES: Sizes = Sizes {
    node_width: 100.0,
    node_height: 40.0,
    bend_width: 10.0,
    column_gap: 20.0,
    row_gap: 30.0,
};
/// From the middle of a layer to that of the next.
const STEP: f64 = 70.0;

fn laid_out(count: usize, edges: &[(usize, usize)]) -> Layout {
    lay_out(count, edges, &SIZES).expect("small")
}

#[test]
fn nothing_takes_no_room() {
    assert_eq!(laid_out(0, &[]), Layout::default());
}

#[test]
fn chain_is_straight() {
    let layout = laid_out(3, &[(0, 1), (1, 2)]);
    assert_eq!(layout.nodes, [(50.0, 20.0), (50.0, 90.0), (50.0, 160.0)]);
    assert_eq!((layout.width, layout.height), (100.0, 180.0));
}

#[test]
fn diamond_stands_over_the_middle() {
    let layout = laid_out(4, &[(0, 1), (0, 2), (1, 3), (2, 3)]);
    let x: Vec<f64> = layout.nodes.iter().map(|node| node.0).collect();
    assert!((x[2] - x[1] - 120.0).abs() < 1e-6, "{x:?}");
    assert!(
        (x[0] - 110.0).abs() < 1.0 && (x[3] - x[0]).abs() < 1.0,
        "{x:?}"
    );
}

#[test]
fn long_edge_goes_around_what_is_between() {
    let layout = laid_out(3, &[(0, 1), (1, 2), (0, 2)]);
    let long = &layout.edges[2];
    assert_eq!(long.len(), 3);
    assert!(
        (long[1].0 - layout.nodes[1].0).abs() >= 75.0 - 1e-6,
        "{long:?}"
    );
    assert!((long[1].1 - layout.nodes[1].1).abs() < 1e-6, "{long:?}");
}

#[test]
fn width_ends_where_the_last_node_or_bend_does() {
    let layout = laid_out(3, &[(0, 1), (1, 2), (0, 2)]);
    let nodes = layout.nodes.iter().map(|node| node.0 + 50.0);
    let bends = layout
        .edges
        .iter()
        .flat_map(|edge| &edge[1..edge.len() - 1]);
    let ends = nodes.chain(bends.map(|bend| bend.0 + 5.0));
    assert_eq!(layout.width, ends.fold(0.0, f64::max));
}

#[test]
fn root_of_a_late_child_stands_right_above_it() {
    let layout = laid_out(4, &[(0, 1), (1, 3), (2, 3)]);
    assert!((layout.nodes[2].1 - layout.nodes[1].1).abs() < 1e-6);
}

#[test]
fn edges_that_need_not_cross_do_not() {
    // As they are numbered each of the upper three would cross the others.
    let layout = laid_out(6, &[(0, 5), (1, 4), (2, 3)]);
    let mut x: Vec<_> = layout
        .edges
        .iter()
        .map(|edge| (edge[0].0, edge[1].0))
        .collect();
    x.sort_by(|a, b| a.0.total_cmp(&b.0));
    assert!(x.windows(2).all(|two| two[0].1 < two[1].1), "{x:?}");
}

#[test]
fn nodes_without_edges_stand_in_rows_below_the_others() {
    let layout = laid_out(9, &[(0, 1)]);
    let rows: Vec<f64> = layout.nodes[2..].iter().map(|node| node.1).collect();
    assert_eq!(rows, [160.0, 160.0, 160.0, 160.0, 160.0, 230.0, 230.0]);
}

#[test]
fn too_many_bends_are_refused_with_the_bound() {
    // A chain, and an edge from its beginning to each of its nodes.
    let count = 300;
    let chain = (1..count).map(|to| (to - 1, to));
    let long = (2..count).map(|to| (0, to));
    let edges: Vec<_> = chain.chain(long).collect();
    let refused = lay_out(count, &edges, &SIZES);
    assert!(
        matches!(refused, Err(Error::TooMany { max: SLOTS_MAX, .. })),
        "{refused:?}"
    );
}

/// Nodes, and edges from lower numbers to higher ones.
fn any_graph() -> impl Strategy<Value = (usize, Vec<(usize, usize)>)> {
    (1_usize..25).prop_flat_map(|count| {
        let edge = (0..count, 0..count);
        let edges = prop::collection::btree_set(edge, 0..40).prop_map(|edges| {
            let edges = edges.into_iter().filter(|(from, to)| from < to);
            edges.collect::<Vec<_>>()
        });
        (Just(count), edges)
    })
}

proptest! {
    #[test]
    fn nodes_are_apart_and_edges_lead_down((count, edges) in any_graph()) {
        let layout = laid_out(count, &edges);
        prop_assert_eq!(laid_out(count, &edges), layout.clone());
        prop_assert_eq!(layout.nodes.len(), count);
        for (i, a) in layout.nodes.iter().enumerate() {
            prop_assert!(a.0 >= 50.0 - 1e-6 && a.0 <= layout.width - 50.0 + 1e-6);
            prop_assert!(a.1 >= 20.0 && a.1 <= layout.height - 20.0);
            for b in &layout.nodes[i + 1..] {
                let apart = (a.1 - b.1).abs() >= STEP - 1e-6 || (a.0 - b.0).abs() >= 120.0 - 1e-6;
                prop_assert!(apart, "{:?}", layout);
            }
        }
        for ((from, to), through) in edges.iter().zip(&layout.edges) {
            prop_assert_eq!(through.first(), Some(&layout.nodes[*from]));
            prop_assert_eq!(through.last(), Some(&layout.nodes[*to]));
            for two in through.windows(2) {
                prop_assert!((two[1].1 - two[0].1 - STEP).abs() < 1e-6, "{:?}", layout);
            }
        }
    }
}
