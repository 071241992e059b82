//! What can go wrong.

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// Two nodes do not reach each other, and their connections break.
    Cut,
    /// What one node sends to another one does not arrive; the other way it does.
    OneWay,
    /// A node reaches nobody.
    Isolate,
    /// Two groups of nodes do not reach each other.
    Split,
    /// Some links are broken, so that some nodes reach each other through others only.
    Partial,
    /// Messages take long on all links of a node.
    SlowLinks,
    /// Messages are lost on all links.
    Loss,
    /// Connections break, and are made anew.
    Reset,
    /// A node stands still; its clocks do not.
    Pause,
    /// The power fails: nothing is left of what was not synced.
    PowerCut,
    /// The power fails: some of what was not synced is left.
    TornPowerCut,
    /// The power fails at some operation of the disk.
    PowerCutInWrite,
    /// The power of all nodes fails.
    PowerCutAll,
    /// The process is killed; the disk has all that was written.
    Kill,
    /// The node stops in good order, and starts again.
    Restart,
    /// Writes of the log take long.
    SlowDisk,
    /// A sync fails.
    FailedSync,
    /// The disk is nearly full.
    FullDisk,
    /// A wall clock jumps.
    ClockJump,
    /// Leadership is handed over.
    Transfer,
    /// Two nodes that do not reach each other stand for election at once.
    Rivals,
    /// A node joins that is to vote.
    Add,
    /// A node joins that is a learner, and is promoted later.
    AddLearner,
    /// A node is removed.
    Remove,
    /// A new node takes the place of one.
    Replace,
}

impl Fault {
    /// All kinds; those that come more often, more often.
    pub(crate) const ALL: [Self; 32] = [
        Self::Cut,
        Self::OneWay,
        Self::OneWay,
        Self::Isolate,
        Self::Split,
        Self::Partial,
        Self::SlowLinks,
        Self::Loss,
        Self::Reset,
        Self::Pause,
        Self::Pause,
        Self::PowerCut,
        Self::PowerCut,
        Self::TornPowerCut,
        Self::TornPowerCut,
        Self::PowerCutInWrite,
        Self::PowerCutAll,
        Self::Kill,
        Self::Restart,
        Self::SlowDisk,
        Self::SlowDisk,
        Self::FailedSync,
        Self::FullDisk,
        Self::ClockJump,
        Self::Transfer,
        Self::Rivals,
        Self::Rivals,
        Self::Rivals,
        Self::Add,
        Self::AddLearner,
        Self::Remove,
        Self::Replace,
    ];
}
