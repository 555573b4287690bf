//! `[limits]`: how long things may take, and how many there may be.

use std::time::Duration;

use serde::Deserialize;

use super::{Faults, seconds};
use crate::lifecycle::Limits;

/// A day and a bit: no wait is longer.
const SECONDS_MAX: f64 = 100_000.0;
/// `qsub`'s own limit is added: a job whose `qsub` gave no answer turns up within this, or never.
const LOST: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitSettings {
    /// In the queue.
    pub queue_wait_seconds: f64,
    /// From the job's start until its user server answers.
    pub start_seconds: f64,
    /// Until a deleted job is gone.
    pub stop_seconds: f64,
    /// User servers at the same time.
    pub servers_max: usize,
    /// User servers of one person at the same time, those that wait too.
    pub servers_per_user_max: usize,
    /// Sign-ins at the same time.
    pub sign_ins_max: usize,
    /// Of one name; after that it has to wait for the rest of the minute.
    pub wrong_passwords_per_minute: u32,
    /// From one address, whatever the names.
    pub wrong_passwords_per_minute_per_address: u32,
    /// How long a user server that is gone can be asked about.
    pub remember_seconds: f64,
    /// A server that the hub does not ask about for so long, while it asks about others, is removed; 0: never.
    pub unclaimed_seconds: f64,
    /// Requests under way get this long when the service is told to end.
    pub drain_seconds: f64,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            queue_wait_seconds: 1800.0,
            start_seconds: 300.0,
            stop_seconds: 60.0,
            servers_max: 2000,
            servers_per_user_max: 5,
            sign_ins_max: 64,
            wrong_passwords_per_minute: 10,
            wrong_passwords_per_minute_per_address: 100,
            remember_seconds: 3600.0,
            unclaimed_seconds: 600.0,
            drain_seconds: 10.0,
        }
    }
}

impl LimitSettings {
    pub(super) fn check(&self, faults: &mut Faults) {
        for (key, value) in [
            ("limits.queue_wait_seconds", self.queue_wait_seconds),
            ("limits.start_seconds", self.start_seconds),
            ("limits.stop_seconds", self.stop_seconds),
            ("limits.remember_seconds", self.remember_seconds),
            ("limits.drain_seconds", self.drain_seconds),
        ] {
            faults.seconds(key, value, SECONDS_MAX);
        }
        if self.unclaimed_seconds != 0.0 {
            faults.seconds("limits.unclaimed_seconds", self.unclaimed_seconds, SECONDS_MAX);
        }
        for (key, value) in [
            ("limits.servers_max", self.servers_max),
            ("limits.servers_per_user_max", self.servers_per_user_max),
            ("limits.sign_ins_max", self.sign_ins_max),
            ("limits.wrong_passwords_per_minute", self.wrong_passwords_per_minute as usize),
            (
                "limits.wrong_passwords_per_minute_per_address",
                self.wrong_passwords_per_minute_per_address as usize,
            ),
        ] {
            if value == 0 {
                faults.add(key, "0 would serve nobody", "leave it out for the default");
            }
        }
    }

    pub fn lifecycle(&self, command_timeout: Duration) -> Limits {
        Limits {
            queue_wait: seconds(self.queue_wait_seconds),
            start: seconds(self.start_seconds),
            lost: command_timeout * 2 + LOST,
            remember: seconds(self.remember_seconds),
            unclaimed: seconds(self.unclaimed_seconds),
            servers_max: self.servers_max,
            servers_per_user_max: self.servers_per_user_max,
        }
    }

    pub fn stop(&self) -> Duration {
        seconds(self.stop_seconds)
    }

    pub fn drain(&self) -> Duration {
        seconds(self.drain_seconds)
    }
}
