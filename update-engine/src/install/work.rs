//! The part of an installation that writes: first what the disk has, then what has to be
//! fetched: by a patch, or in the frames of the image's own file.

mod patch;

use std::pin::pin;

use futures_util::{Stream, StreamExt};
use semver::Version;

use super::image::{Image, Unpacker};
use super::writer::Writer;
use super::{InstallError, Options, Phase, Watch};
use crate::blocks::BlockHashes;
use crate::fetch::{FetchError, Received, Source, Traffic};
use crate::frames::FrameTable;
use crate::plan::{self, Order, Request};
use crate::release::{self, Frame};
use crate::remote::Remote;
use crate::slots::{Disarmed, Disk};

pub(super) struct Work<'a, 'd, D: Disk> {
    writer: Writer<'a, 'd, D>,
    remote: &'a dyn Remote,
    options: &'a Options,
    watch: &'a Watch,
    traffic: &'a Traffic,
    /// The server was not seen refusing them.
    ranges: bool,
}

impl<'a, 'd, D: Disk> Work<'a, 'd, D> {
    /// Work on the passive one of `slots`; requests are counted in `traffic`.
    pub(super) fn new(
        slots: Disarmed<'d, D>,
        remote: &'a dyn Remote,
        options: &'a Options,
        watch: &'a Watch,
        traffic: &'a Traffic,
    ) -> Self {
        Self {
            writer: Writer::new(slots, options.flush_every, watch),
            remote,
            options,
            watch,
            traffic,
            ranges: true,
        }
    }

    /// Writes the verified tree.
    pub(super) fn put_tree(&mut self, tree: &[u8]) -> Result<(), InstallError> {
        self.writer.put_tree(tree)
    }

    /// Copies what the disk has. A block that turns out to be another one stays missing.
    pub(super) fn copy(
        &mut self,
        image: &mut Image<'_>,
        active: Option<BlockHashes<'_>>,
    ) -> Result<(), InstallError> {
        self.watch.phase(Phase::Copying);
        let active = active.map(Order::new);
        let copies = plan::copies(image.order(), image.right(), active.as_ref());
        let mut buffer = Vec::new();
        for copy in copies {
            self.watch.check()?;
            let written = image.copy(&mut self.writer, copy, &mut buffer)?;
            self.watch.update(|p| p.copied += written);
        }
        Ok(())
    }

    /// Fetches what is missing, in ranges if the server has them.
    pub(super) async fn fetch(&mut self, files: &mut [File<'_, '_>]) -> Result<(), InstallError> {
        self.watch.phase(Phase::Fetching);
        for first in 0..files.len() {
            let mut done = self.fetch_first(&mut files[first..]).await;
            if let Err(InstallError::Fetch(FetchError::NoRanges { .. })) = done {
                self.ranges = false;
                done = self.fetch_first(&mut files[first..]).await;
            }
            done?;
        }
        Ok(())
    }

    /// Fetches the first of `files`, and tells how much is still to come of all of them.
    async fn fetch_first(&mut self, files: &mut [File<'_, '_>]) -> Result<(), InstallError> {
        let expected: u64 = files.iter().map(|file| self.plan(file).bytes()).sum();
        self.watch.update(|p| p.expected = p.received + expected);
        let Some(file) = files.first_mut() else {
            return Ok(());
        };
        let Plan { wanted, requests } = self.plan(file);
        if wanted.is_empty() {
            return Ok(());
        }
        let source = self.source(&file.target, &file.table);
        if self.ranges {
            let received = source.frames(requests, &wanted, self.options.parallel);
            self.take(file.image, source, received).await
        } else {
            self.take(file.image, source, source.whole(&wanted)).await
        }
    }

    fn source<'s>(&self, target: &'s str, table: &'s FrameTable) -> Source<'s>
    where
        'a: 's,
    {
        Source {
            remote: self.remote,
            target,
            table,
            patience: self.options.patience,
            traffic: self.traffic,
        }
    }

    /// What of a file has to be asked for now.
    fn plan(&self, file: &File<'_, '_>) -> Plan {
        self.plan_of(file.image, &file.table)
    }

    fn plan_of(&self, image: &Image<'_>, table: &FrameTable) -> Plan {
        let wanted = plan::frames(image.order(), image.right(), table);
        let requests = if self.ranges {
            plan::requests(&wanted, table, self.options.limits)
        } else {
            let frames = 0..wanted.last().map_or(0, |last| last + 1);
            let bytes = table.bytes(frames.clone());
            vec![Request { frames, bytes }]
        };
        Plan { wanted, requests }
    }

    async fn take(
        &mut self,
        image: &mut Image<'_>,
        source: Source<'_>,
        received: impl Stream<Item = Result<Received, FetchError>>,
    ) -> Result<(), InstallError> {
        let mut received = pin!(received);
        let mut unpacker = Unpacker::new()?;
        while let Some(frame) = self.watch.or_cancelled(received.next()).await? {
            let frame = frame?;
            let taken = image.unpack(&mut self.writer, &mut unpacker, source.table, &frame)?;
            let written = taken.map_err(|fault| InstallError::Frame {
                target: source.target.to_string(),
                range: source.table.bytes(frame.frame..frame.frame + 1),
                source: fault,
            })?;
            self.watch.update(|p| {
                p.fetched += written;
                p.received = source.traffic.bytes();
                p.requests = source.traffic.requests();
            });
        }
        Ok(())
    }

    /// Makes everything durable that was written.
    pub(super) fn finish(self) -> Result<Disarmed<'d, D>, InstallError> {
        self.writer.finish()
    }
}

/// A file of frames on the server, and the image that they belong to.
pub(super) struct File<'i, 'a> {
    image: &'i mut Image<'a>,
    target: String,
    table: FrameTable,
}

impl<'i, 'a> File<'i, 'a> {
    /// The target `file` of the release `version`.
    pub(super) fn new(
        image: &'i mut Image<'a>,
        version: &Version,
        file: &str,
        frames: &[Frame],
    ) -> Self {
        Self {
            image,
            target: release::target_name(version, file),
            table: FrameTable::new(frames),
        }
    }
}

/// Frames that are wanted, and the requests that bring them.
struct Plan {
    wanted: Vec<usize>,
    requests: Vec<Request>,
}

impl Plan {
    fn bytes(&self) -> u64 {
        let bytes = self.requests.iter().map(|r| r.bytes.end - r.bytes.start);
        bytes.sum()
    }
}
