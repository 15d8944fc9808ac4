//! An export as something to capture from.

use driver_volume::Source;
use parking_lot::Mutex;

use crate::error::QemuError;
use crate::nbd::{ALLOCATION, Client, STATE_ZERO, Status};
use crate::settings::QemuProfile;

/// The instant, read over as many connections as there are threads.
pub(crate) struct Export<'a> {
    profile: &'a QemuProfile,
    name: &'a str,
    size: u64,
    /// What reads as zeros, in order and apart. All else is read.
    zeros: Vec<(u64, u64)>,
    idle: Mutex<Vec<Client>>,
}

impl<'a> Export<'a> {
    /// Asks what reads as zeros in these parts; elsewhere nothing is taken for zeros.
    pub(crate) fn open(
        profile: &'a QemuProfile,
        name: &'a str,
        parts: impl FnOnce(u64) -> Vec<(u64, u64)>,
    ) -> Result<Self, QemuError> {
        let mut client = Client::connect(profile, name, Some(ALLOCATION))?;
        let size = client.size();
        let mut zeros = Vec::new();
        for (start, end) in parts(size) {
            zeros.extend(zeros_of(&client.status(start, end.min(size))?));
        }
        Ok(Self { profile, name, size, zeros, idle: Mutex::new(vec![client]) })
    }

    fn with_client<T>(&self, work: impl FnOnce(&mut Client) -> Result<T, QemuError>) -> std::io::Result<T> {
        let idle = self.idle.lock().pop();
        let mut client = match idle {
            Some(client) => client,
            None => Client::connect(self.profile, self.name, None).map_err(QemuError::into_io)?,
        };
        // One that failed may have half an answer in it.
        let done = work(&mut client).map_err(QemuError::into_io)?;
        self.idle.lock().push(client);
        Ok(done)
    }
}

fn zeros_of(status: &[Status]) -> impl Iterator<Item = (u64, u64)> + '_ {
    status.iter().filter(|status| status.flags & STATE_ZERO != 0).map(|status| (status.start, status.end))
}

impl Source for Export<'_> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        self.with_client(|client| client.read(buffer, offset))
    }

    fn data_from(&self, offset: u64) -> std::io::Result<Option<(u64, u64)>> {
        Ok(data_from(&self.zeros, self.size, offset))
    }
}

fn data_from(zeros: &[(u64, u64)], size: u64, offset: u64) -> Option<(u64, u64)> {
    let mut start = offset;
    let mut next = zeros.partition_point(|(_, end)| *end <= start);
    while let Some((_, end)) = zeros.get(next).filter(|(from, _)| *from <= start) {
        start = *end;
        next += 1;
    }
    let end = zeros.get(next).map_or(size, |(from, _)| *from);
    (start < size).then_some((start, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_does_not_read_as_zeros_is_data() {
        let zeros = [(0, 10), (20, 30), (30, 40), (90, 100)];
        let found = |offset| data_from(&zeros, 100, offset);
        assert_eq!([found(0), found(10), found(15)], [Some((10, 20)), Some((10, 20)), Some((15, 20))]);
        assert_eq!([found(20), found(39), found(50)], [Some((40, 90)), Some((40, 90)), Some((50, 90))]);
        assert_eq!([found(90), found(100), data_from(&[], 0, 0)], [None; 3]);
        assert_eq!(data_from(&[], 7, 3), Some((3, 7)));
    }
}
