//! Where the nodes of a graph stand, whose edges all lead downwards: layer by layer.
//!
//! The steps are those of Sugiyama, Tagawa and Toda (*Methods for Visual Understanding of Hierarchical System
//! Structures*, 1981): a layer for each node, bends where an edge goes through a layer, an order within each layer that
//! has few crossings, and places in that order. A lineage makes the first of them simple: parents come before their
//! children, so there are no circles to be broken.
//!
//! Why not a crate: `layout-rs` writes a document of its own, without titles to hover over, says what it does not like by
//! panicking, and has no bound on what it takes on.

use crate::error::Error;

mod order;
mod place;

/// Nodes, and bends of edges, at most.
pub(crate) const SLOTS_MAX: usize = 20_000;
/// Nodes without edges that stand side by side.
const LONELY_COLUMNS: usize = 5;

/// How large things are, pixels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) node_width: f64,
    pub(crate) node_height: f64,
    /// Of an edge that goes through a layer.
    pub(crate) bend_width: f64,
    /// Between two that stand side by side.
    pub(crate) column_gap: f64,
    /// Between two layers.
    pub(crate) row_gap: f64,
}

/// Where everything stands, from 0, pixels.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Layout {
    pub(crate) width: f64,
    pub(crate) height: f64,
    /// The middle of each node.
    pub(crate) nodes: Vec<(f64, f64)>,
    /// The middles of what each edge goes through: its upper node, bends, its lower node.
    pub(crate) edges: Vec<Vec<(f64, f64)>>,
}

/// A node, or a bend of an edge.
struct Slot {
    layer: usize,
    width: f64,
    /// Slots of the layer above that are connected with it.
    above: Vec<usize>,
    /// Of the layer below.
    below: Vec<usize>,
}

/// Places nodes, numbered from 0, by edges that lead from lower numbers to higher ones.
///
/// # Errors
/// [`Error::TooMany`] for more than [`SLOTS_MAX`] nodes and bends.
pub(crate) fn lay_out(
    count: usize,
    edges: &[(usize, usize)],
    sizes: &Sizes,
) -> Result<Layout, Error> {
    let layers = layers(count, edges);
    let spans = edges.iter().map(|(from, to)| layers[*to] - layers[*from]);
    let bends: usize = spans.map(|span| span - 1).sum();
    if count + bends > SLOTS_MAX {
        return Err(Error::TooMany {
            what: "events and bends of lines",
            max: SLOTS_MAX,
            actual: count + bends,
        });
    }
    let (slots, chains) = slots(&layers, edges, sizes);
    let is_lonely = |slot: &usize| slots[*slot].above.is_empty() && slots[*slot].below.is_empty();
    let lonely: Vec<usize> = (0..count).filter(is_lonely).collect();
    let connected = (0..slots.len()).filter(|slot| !is_lonely(slot));
    let mut rows: Vec<Vec<usize>> = Vec::new();
    for slot in connected {
        let layer = slots[slot].layer;
        if rows.len() <= layer {
            rows.resize(layer + 1, Vec::new());
        }
        rows[layer].push(slot);
    }
    order::sort(&mut rows, &slots);
    let mut x = place::spread(&rows, &slots, sizes.column_gap);
    // Below all others, so that a list of heads is no line of a thousand.
    for (at, slot) in lonely.iter().enumerate() {
        #[allow(clippy::cast_precision_loss, reason = "a few columns")]
        let column = (at % LONELY_COLUMNS) as f64;
        x[*slot] = sizes.node_width / 2.0 + column * (sizes.node_width + sizes.column_gap);
    }
    rows.extend(lonely.chunks(LONELY_COLUMNS).map(<[usize]>::to_vec));
    Ok(measure(count, &rows, &x, &chains, sizes))
}

/// The layer of each node, from 0: below all its parents, and right above a child where there is no parent.
fn layers(count: usize, edges: &[(usize, usize)]) -> Vec<usize> {
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); count];
    let mut has_parent = vec![false; count];
    for &(from, to) in edges {
        children[from].push(to);
        has_parent[to] = true;
    }
    let mut layers = vec![0_usize; count];
    // Whatever leads to a node is complete when its turn comes.
    for (from, children) in children.iter().enumerate() {
        let below = layers[from] + 1;
        for &to in children {
            layers[to] = below.max(layers[to]);
        }
    }
    for node in (0..count).filter(|node| !has_parent[*node]) {
        let nearest = children[node].iter().map(|child| layers[*child]).min();
        layers[node] = nearest.map_or(0, |nearest| nearest - 1);
    }
    layers
}

/// The nodes as slots, by their numbers, with the bends behind them; and the slots that each edge goes through.
fn slots(
    layers: &[usize],
    edges: &[(usize, usize)],
    sizes: &Sizes,
) -> (Vec<Slot>, Vec<Vec<usize>>) {
    let slot = |layer: usize, width: f64| Slot {
        layer,
        width,
        above: Vec::new(),
        below: Vec::new(),
    };
    let nodes = layers.iter();
    let mut slots: Vec<Slot> = nodes.map(|layer| slot(*layer, sizes.node_width)).collect();
    let mut chains = Vec::with_capacity(edges.len());
    for &(from, to) in edges {
        let mut chain = vec![from];
        for layer in layers[from] + 1..layers[to] {
            chain.push(slots.len());
            slots.push(slot(layer, sizes.bend_width));
        }
        chain.push(to);
        for two in chain.windows(2) {
            slots[two[0]].below.push(two[1]);
            slots[two[1]].above.push(two[0]);
        }
        chains.push(chain);
    }
    (slots, chains)
}

/// The layout of slots that have their columns and rows.
fn measure(
    count: usize,
    rows: &[Vec<usize>],
    x: &[f64],
    chains: &[Vec<usize>],
    sizes: &Sizes,
) -> Layout {
    let mut places = vec![(0.0, 0.0); x.len()];
    let step = sizes.node_height + sizes.row_gap;
    let (mut width, mut y) = (0.0_f64, sizes.node_height / 2.0);
    for row in rows {
        for &slot in row {
            places[slot] = (x[slot], y);
            let own = if slot < count {
                sizes.node_width
            } else {
                sizes.bend_width
            };
            width = width.max(x[slot] + own / 2.0);
        }
        y += step;
    }
    let height = if rows.is_empty() {
        0.0
    } else {
        y - step + sizes.node_height / 2.0
    };
    let edges = chains.iter();
    Layout {
        width,
        height,
        edges: edges
            .map(|chain| chain.iter().map(|slot| places[*slot]).collect())
            .collect(),
        nodes: places[..count].to_vec(),
    }
}

#[cfg(test)]
mod tests;
