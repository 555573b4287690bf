//! What a viewer may subscribe to.

/// What a viewer may subscribe to. Dictionaries (workers, computations, stages) go to everyone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Topic {
    Tasks = 0,
    Progress = 1,
    Workers = 2,
    Totals = 3,
    Failures = 4,
}

impl Topic {
    pub const ALL: [Self; 5] = [Self::Tasks, Self::Progress, Self::Workers, Self::Totals, Self::Failures];

    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "tasks" => Self::Tasks,
            "progress" => Self::Progress,
            "workers" => Self::Workers,
            "totals" => Self::Totals,
            "failures" => Self::Failures,
            _ => return None,
        })
    }
}

/// A set of [`Topic`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Topics(u8);

impl Topics {
    pub fn with(self, topic: Topic) -> Self {
        Self(self.0 | 1 << topic as usize)
    }
    pub fn contains(self, topic: Topic) -> bool {
        self.0 & (1 << topic as usize) != 0
    }
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}
