//! Owns whom something that goes wrong befalls, and what it does to them.

use rand::Rng;

use crate::{
    faults::Fault,
    network::Party,
    world::{What, World},
};

impl World {
    fn any_machine(&mut self) -> Option<u32> {
        let numbers: Vec<u32> = self.machines.keys().copied().collect();
        (!numbers.is_empty()).then(|| numbers[self.rng.random_range(0..numbers.len())])
    }

    fn any_client(&mut self) -> Option<u32> {
        let numbers: Vec<u32> = self.clients.keys().copied().collect();
        (!numbers.is_empty()).then(|| numbers[self.rng.random_range(0..numbers.len())])
    }

    pub(crate) fn befall(&mut self, fault: Fault) {
        match fault {
            Fault::Kill { back } => {
                if let Some(machine) = self.any_machine() {
                    self.end_machine(machine, back);
                }
            }
            Fault::Leave { within } => {
                if let Some(machine) = self.any_machine() {
                    self.drain(machine, within);
                }
            }
            Fault::Join => self.join(),
            Fault::CrashScheduler { unwritten, back } => self.crash_scheduler(unwritten, back),
            Fault::CutWorker { lasts } => {
                if let Some(machine) = self.any_machine() {
                    self.network.cut(Party::Machine(machine));
                    self.agenda.after(lasts, What::Mend(Party::Machine(machine)));
                }
            }
            Fault::CutClient { lasts } => {
                if let Some(client) = self.any_client() {
                    self.network.cut(Party::Client(client));
                    self.agenda.after(lasts, What::Mend(Party::Client(client)));
                }
            }
            Fault::BreakWorker { notices, back } => {
                if let Some(machine) = self.any_machine() {
                    self.break_connection(Party::Machine(machine), notices, back);
                }
            }
            Fault::BreakClient { notices, back } => {
                if let Some(client) = self.any_client() {
                    self.break_connection(Party::Client(client), notices, back);
                }
            }
            Fault::CutPeers { lasts } => {
                if let (Some(a), Some(b)) = (self.any_machine(), self.any_machine())
                    && a != b
                {
                    self.network.cut_peers(a, b);
                    self.agenda.after(lasts, What::MendPeers(a, b));
                }
            }
            Fault::RestartClient { back } => {
                if let Some(client) = self.any_client() {
                    self.end_client(client, back);
                }
            }
            Fault::SlowClient { lasts } => {
                let until = self.agenda.now + lasts;
                if let Some(client) = self.any_client().and_then(|client| self.clients.get_mut(&client)) {
                    client.slow_until = until;
                }
            }
            Fault::SlowDisk { factor } => {
                if let Some(machine) = self.any_machine().and_then(|number| self.machines.get_mut(&number)) {
                    machine.disk_factor = factor;
                }
            }
            Fault::BadDisk { permille } => {
                if let Some(machine) = self.any_machine().and_then(|number| self.machines.get_mut(&number)) {
                    machine.disk_fails_permille = permille;
                }
            }
        }
    }
}
