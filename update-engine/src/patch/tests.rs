use super::*;
use proptest::prelude::*;

const MIB: usize = 1 << 20;

/// Bytes of an image: a word for every number.
fn image(words: &[u16]) -> Vec<u8> {
    let mut bytes: Vec<u8> = words
        .iter()
        .flat_map(|w| w.to_le_bytes().repeat(700))
        .collect();
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes
}

/// What the frame `content` makes of `old`.
fn made(content: &[u8], blocks: usize, old: &[u8]) -> Result<Vec<(usize, Vec<u8>)>, PatchFault> {
    let mut pieces = Pieces::open(content, blocks, old.len() as u64)?;
    let (mut all, mut piece) = (Vec::new(), Vec::new());
    while let Some(first) = pieces.next(&mut piece, |at, buffer: &mut [u8]| {
        buffer.copy_from_slice(&old[at as usize..at as usize + buffer.len()]);
        Ok::<(), PatchFault>(())
    })? {
        assert!(!piece.is_empty() && piece.len() <= MAX_RUN * BLOCK);
        assert!(first * BLOCK + piece.len() <= blocks * BLOCK);
        all.push((first, piece.clone()));
    }
    Ok(all)
}

/// A frame of one run, with these parts.
fn frame(runs: &[u64], steps: &[u64], sums: &[u8], bytes: &[u8]) -> Vec<u8> {
    let numbers = |numbers: &[u64]| {
        let mut bytes = Vec::new();
        numbers.iter().for_each(|n| put_number(&mut bytes, *n));
        bytes
    };
    let parts = [&numbers(runs)[..], &numbers(steps), sums, bytes];
    let lengths: Vec<u64> = parts.iter().map(|part| part.len() as u64).collect();
    [&numbers(&lengths)[..], &parts.concat()].concat()
}

#[test]
fn a_frame_reads_as_its_documentation_says() {
    let old: Vec<u8> = (0..2 * BLOCK).map(|i| i as u8).collect();
    // Over one block; one block of 10 sums from byte 100 on, then bytes that are new.
    let content = frame(&[1, 1], &[200, 10, 4086], &[1; 10], &[7; 4086]);
    let expected = [(101..111).collect(), vec![7; 4086]].concat();
    assert_eq!(made(&content, 3, &old), Ok(vec![(1, expected)]));
    // Back to the start: 50 on, 4096 sums, then a move of -4146.
    let content = frame(
        &[0, 1, 1, 1],
        &[100, 4096, 0, 8291, 4096, 0],
        &[0; 8192],
        &[],
    );
    let expected = vec![(0, old[50..4146].to_vec()), (2, old[..BLOCK].to_vec())];
    assert_eq!(made(&content, 3, &old), Ok(expected));
    assert_eq!(made(&frame(&[], &[], &[], &[]), 3, &old), Ok(vec![]));
}

#[test]
fn what_leads_out_of_the_images_is_refused() {
    let old = vec![0; 2 * BLOCK];
    let fault = |content: Vec<u8>| made(&content, 2, &old).unwrap_err();
    let block = [0; BLOCK];
    let max = u64::MAX;
    for runs in [[2, 1], [0, 3], [max, 1], [1, max], [0, 0]] {
        let content = frame(&runs, &[0, 4096, 0], &block, &[]);
        assert_eq!(fault(content), PatchFault::Foreign, "{runs:?}");
    }
    for steps in [
        [8194, 4096, 0],
        [1, 4096, 0],
        [0, 8193, 0],
        [max - 1, max, 0],
    ] {
        let content = frame(&[0, 1], &steps, &block, &[]);
        assert_eq!(fault(content), PatchFault::Outside, "{steps:?}");
    }
}

#[test]
fn parts_that_do_not_fit_each_other_are_refused() {
    let old = vec![0; 2 * BLOCK];
    let fault = |content: &[u8]| made(content, 2, &old).unwrap_err();
    let short = |part| PatchFault::Short { part };
    let surplus = |part| PatchFault::Surplus { part };
    let block = [0; BLOCK];
    assert_eq!(fault(&[]), short("lengths"));
    assert_eq!(fault(&[0xff; 40]), surplus("lengths"));
    assert_eq!(fault(&[0, 0, 0, 1]), short("bytes"));
    assert_eq!(fault(&[0, 0, 0, 0, 0]), surplus("lengths"));
    assert_eq!(fault(&frame(&[0], &[], &[], &[])), short("runs"));
    assert_eq!(fault(&frame(&[0, 1], &[], &[], &[])), short("steps"));
    let steps = [0, 4096, 0];
    assert_eq!(
        fault(&frame(&[0, 1], &steps, &block[1..], &[])),
        short("sums")
    );
    assert_eq!(
        fault(&frame(&[0, 1], &steps, &block, &[1])),
        surplus("bytes")
    );
    assert_eq!(
        fault(&frame(&[0, 1], &[0, 0, 4096], &[], &[])),
        short("bytes")
    );
    assert_eq!(fault(&frame(&[], &[], &[1], &[])), surplus("sums"));
    let more = [0, 4096, 0, 0, 1, 0];
    assert_eq!(fault(&frame(&[0, 1], &more, &block, &[])), surplus("steps"));
}

#[test]
fn a_frame_that_is_too_large_is_refused_before_it_is_decompressed() {
    let mut zstd = zstd::bulk::Decompressor::new().unwrap();
    let mut content = Vec::new();
    let bomb = zstd::bulk::compress(&vec![0; MAX_CONTENT + 1], 19).unwrap();
    let fault = decompress(&mut zstd, &bomb, &mut content).unwrap_err();
    let bytes = MAX_CONTENT as u64 + 1;
    assert_eq!(fault, PatchFault::TooLong { bytes });
    assert_eq!(content.capacity(), 0);
    let good = zstd::bulk::compress(&vec![5; MIB], 1).unwrap();
    decompress(&mut zstd, &good, &mut content).unwrap();
    assert_eq!(content, vec![5; MIB]);
    for wrong in [&good[..good.len() - 1], b"not zstd", b""] {
        let fault = decompress(&mut zstd, wrong, &mut content).unwrap_err();
        assert_eq!(fault, PatchFault::Compressed);
    }
}

/// Lengths of pieces, with their origin if they have one.
type Ways = Vec<(usize, Option<usize>)>;

/// Two images and a way to write the second one: blocks that are made or passed over, and
/// the pieces that they are made of.
fn drafts() -> impl Strategy<Value = (Vec<u8>, Vec<u8>, Vec<bool>, Ways)> {
    let words = || prop::collection::vec(0_u16..9, 3..30).prop_map(|words| image(&words));
    let steps = prop::collection::vec((1_usize..6000, prop::option::of(any::<usize>())), 1..20);
    let runs = prop::collection::vec(any::<bool>(), 1..12);
    (words(), words(), runs, steps)
}

proptest! {
    #[test]
    fn what_is_written_is_read((old, new, made_blocks, steps) in drafts()) {
        let mut draft = Draft::default();
        let mut expected = Vec::new();
        let mut ways = steps.iter().cycle();
        let blocks = new.len() / BLOCK;
        let wanted: Vec<usize> = (0..blocks)
            .filter(|b| made_blocks.get(*b).copied().unwrap_or(false))
            .collect();
        for run in wanted.chunk_by(|a, b| a + 1 == *b) {
            let run = run[0]..run[0] + run.len();
            draft.run(run.clone());
            let bytes = &new[run.start * BLOCK..run.end * BLOCK];
            expected.push((run.start, bytes.to_vec()));
            let mut rest = bytes;
            while let Some((length, from)) = ways.next().filter(|_| !rest.is_empty()) {
                let from = from.map(|from| from % old.len());
                let room = from.map_or(rest.len(), |from| old.len() - from);
                let (now, later) = rest.split_at((*length).min(room).min(rest.len()));
                match from {
                    None => draft.add(now, Origin::New, &[]),
                    Some(at) => {
                        draft.add(now, Origin::Old(at as u64), &old[at..at + now.len()]);
                    }
                }
                rest = later;
            }
        }
        let content = draft.finish();
        prop_assert_eq!(made(&content, blocks, &old), Ok(expected));
    }

    #[test]
    fn no_bytes_panic_or_make_more_than_they_hold(
        content in prop::collection::vec(any::<u8>(), 0..300),
        blocks in 0_usize..5,
    ) {
        let _ = made(&content, blocks, &[3; 2 * BLOCK]);
    }

    #[test]
    fn damage_of_a_frame_is_refused_or_makes_blocks_of_its_own(
        (old, new, _, _) in drafts(),
        damage in prop::collection::vec((any::<usize>(), any::<u8>()), 1..4),
    ) {
        let blocks = new.len() / BLOCK;
        let mut draft = Draft::default();
        draft.run(0..blocks);
        let length = new.len().min(old.len());
        draft.add(&new[..length], Origin::Old(0), &old[..length]);
        draft.add(&new[length..], Origin::New, &[]);
        let mut content = draft.finish();
        for (at, byte) in damage {
            // Most of it where it changes more than the bytes that are made.
            let head = content.len().min(40);
            content[at % head] = byte;
        }
        let _ = made(&content, blocks, &old);
    }
}
