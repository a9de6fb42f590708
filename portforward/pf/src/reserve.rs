//! Reserving all wanted local ports: early those whose number is known, before the cluster is
//! asked for anything; the others once their names have been looked up.
//!
//! A departure from kubectl: one port that cannot be had ends the program, unless `--allow-partial`,
//! which reports and skips it as kubectl does.

use crate::exit::{Exit, Failure, Hop};
use crate::listen::{self, Address, Bound};
use crate::output::Output;
use crate::portmap::Forward;
use portforward::ports::{LocalPort, PortSpec};
use std::collections::BTreeSet;
use std::num::NonZeroU16;

/// The local ports of one run, in the order of the command line.
pub(crate) struct Reservations<'a> {
    addresses: Vec<Address>,
    partial: bool,
    output: &'a Output,
    slots: Vec<Slot>,
}

enum Slot {
    /// Its number is not known yet.
    Later,
    Bound(Bound),
    /// Not to be had, and told so.
    Skipped,
}

impl<'a> Reservations<'a> {
    /// Reserves what can be reserved now.
    ///
    /// # Errors
    /// Exit code 5; exit code 2 for one port given twice.
    pub(crate) fn early(
        addresses: Vec<Address>,
        specs: &[PortSpec],
        partial: bool,
        output: &'a Output,
    ) -> Result<Self, Failure> {
        refuse_duplicates(specs.iter().filter_map(|spec| match spec.local {
            LocalPort::Fixed(port) => Some(port),
            LocalPort::Free | LocalPort::OfName => None,
        }))?;
        let mut this = Self {
            addresses,
            partial,
            output,
            slots: Vec::with_capacity(specs.len()),
        };
        for spec in specs {
            let slot = match spec.local {
                LocalPort::Fixed(port) => this.reserve(Some(port))?,
                LocalPort::Free => this.reserve(None)?,
                LocalPort::OfName => Slot::Later,
            };
            this.slots.push(slot);
        }
        this.refuse_none()?;
        Ok(this)
    }

    /// Reserves the rest; `forwards` are the specs, looked up. Gives the ports to listen on.
    ///
    /// # Errors
    /// As [`Self::early`].
    pub(crate) fn complete(
        mut self,
        forwards: &[Forward],
    ) -> Result<Vec<(Bound, NonZeroU16)>, Failure> {
        refuse_duplicates(forwards.iter().filter_map(|forward| forward.local))?;
        let slots = std::mem::take(&mut self.slots);
        for (slot, forward) in slots.into_iter().zip(forwards) {
            let slot = match slot {
                Slot::Later => self.reserve(forward.local)?,
                slot => slot,
            };
            self.slots.push(slot);
        }
        self.refuse_none()?;
        let bound = self.slots.into_iter().zip(forwards);
        Ok(bound
            .filter_map(|(slot, forward)| match slot {
                Slot::Bound(bound) => Some((bound, forward.remote)),
                Slot::Later | Slot::Skipped => None,
            })
            .collect())
    }

    fn reserve(&self, port: Option<NonZeroU16>) -> Result<Slot, Failure> {
        match listen::bind(&self.addresses, port, self.partial, self.output) {
            Ok(bound) => Ok(Slot::Bound(bound)),
            Err(failure) if self.partial => {
                self.output.note(failure.to_string());
                Ok(Slot::Skipped)
            }
            Err(failure) => Err(failure),
        }
    }

    fn refuse_none(&self) -> Result<(), Failure> {
        if self.slots.iter().all(|slot| matches!(slot, Slot::Skipped)) {
            let text = "unable to listen on any of the requested ports";
            return Err(Failure::new(Exit::Bind, Hop::Local, text));
        }
        Ok(())
    }
}

fn refuse_duplicates(ports: impl Iterator<Item = NonZeroU16>) -> Result<(), Failure> {
    let mut seen = BTreeSet::new();
    for port in ports {
        if !seen.insert(port) {
            return Err(Failure::usage(format!(
                "local port {port} is asked for twice"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specs(forms: &[&str]) -> Vec<PortSpec> {
        forms.iter().map(|form| form.parse().unwrap()).collect()
    }

    fn addresses() -> Vec<Address> {
        listen::addresses(&["127.0.0.1".to_owned()]).unwrap()
    }

    fn forward(local: Option<u16>, remote: u16) -> Forward {
        Forward {
            local: local.and_then(NonZeroU16::new),
            remote: NonZeroU16::new(remote).unwrap(),
        }
    }

    #[tokio::test]
    async fn early_and_late() {
        let output = Output::new(0).unwrap();
        let early =
            Reservations::early(addresses(), &specs(&[":80", "http"]), false, &output).unwrap();
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let free = taken.local_addr().unwrap().port();
        drop(taken);
        let ports = early
            .complete(&[forward(None, 80), forward(Some(free), 8080)])
            .unwrap();
        let remotes: Vec<u16> = ports.iter().map(|(_, remote)| remote.get()).collect();
        assert_eq!(remotes, [80, 8080]);
        assert_eq!(ports[1].0.port().get(), free);
    }

    #[tokio::test]
    async fn a_taken_port_ends_all_unless_partial() {
        let output = Output::new(0).unwrap();
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let wanted = specs(&[&format!("{port}:80"), ":81"]);
        let Err(failure) = Reservations::early(addresses(), &wanted, false, &output) else {
            panic!("bound a taken port");
        };
        assert_eq!(failure.exit, Exit::Bind);

        let early = Reservations::early(addresses(), &wanted, true, &output).unwrap();
        let ports = early
            .complete(&[forward(Some(port), 80), forward(None, 81)])
            .unwrap();
        assert_eq!(ports.len(), 1);
        assert_eq!(ports[0].1.get(), 81);

        let wanted = specs(&[&format!("{port}:80")]);
        let Err(failure) = Reservations::early(addresses(), &wanted, true, &output) else {
            panic!("nothing is left to listen on");
        };
        assert!(
            failure
                .to_string()
                .contains("unable to listen on any of the requested ports")
        );
    }

    #[test]
    fn twice_the_same() {
        let output = Output::new(0).unwrap();
        let result =
            Reservations::early(addresses(), &specs(&["8080:80", "8080:81"]), false, &output);
        assert!(matches!(result, Err(failure) if failure.exit == Exit::Usage));
        let early = Reservations::early(addresses(), &specs(&["a", "b"]), false, &output).unwrap();
        let result = early.complete(&[forward(Some(9), 9), forward(Some(9), 9)]);
        assert!(matches!(result, Err(failure) if failure.exit == Exit::Usage));
    }
}
