//! The laws of the block scoreboard.

use proptest::prelude::*;

use super::*;

const SEED: u64 = 11;

/// A write that completes at once; the bytes it brought.
fn write(board: &mut BlkScoreboard, first: u64, sectors: u64) -> (CommandId, Vec<u8>) {
    let id = board.issue(Access::Write, first, sectors);
    let bytes = brought(board, id, sectors);
    board.complete(id, &[]).unwrap();
    (id, bytes)
}

fn brought(board: &BlkScoreboard, id: CommandId, sectors: u64) -> Vec<u8> {
    let mut bytes = vec![0; sectors as usize * SECTOR_BYTES];
    board.fill(id, &mut bytes);
    bytes
}

fn read(board: &mut BlkScoreboard, first: u64, data: &[u8]) -> Result<(), BlkFinding> {
    let id = board.issue(Access::Read, first, (data.len() / SECTOR_BYTES) as u64);
    board.complete(id, data)
}

#[test]
fn a_read_sees_the_last_write_of_each_sector() {
    let mut board = BlkScoreboard::new(SEED);
    let (_, old) = write(&mut board, 0, 8);
    let (_, new) = write(&mut board, 2, 2);
    let mut disk = old.clone();
    disk[1024..2048].copy_from_slice(&new);
    assert_eq!(read(&mut board, 0, &disk), Ok(()));
    assert!(read(&mut board, 0, &old).is_err());
}

#[test]
fn a_stale_sector_is_named_with_the_write_it_came_from() {
    let mut board = BlkScoreboard::new(SEED);
    let (first, old) = write(&mut board, 100, 4);
    let (second, _) = write(&mut board, 100, 4);
    let finding = read(&mut board, 100, &old).unwrap_err();
    let BlkFinding::Mismatch { sector: 100, held, origin, .. } = &finding else {
        panic!("{finding}")
    };
    assert_eq!(*held, Held::Written(second.0));
    assert_eq!(*origin, Origin::Written { command: first.0, sector: 100 });
    assert!(finding.to_string().contains("seen what command 1 wrote to sector 100"), "{finding}");
}

#[test]
fn one_wrong_byte_is_named_with_its_sector_and_offset() {
    let mut board = BlkScoreboard::new(SEED);
    let (_, mut bytes) = write(&mut board, 10, 4);
    bytes[2 * SECTOR_BYTES + 77] ^= 0x10;
    let finding = read(&mut board, 10, &bytes).unwrap_err();
    let BlkFinding::Mismatch {
        sector: 12,
        offset: 77,
        origin: Origin::Unknown,
        expected,
        seen,
        ..
    } = &finding
    else {
        panic!("{finding}")
    };
    assert_eq!(expected.bytes()[0] ^ 0x10, seen.bytes()[0]);
}

#[test]
fn what_was_never_written_is_what_the_disk_held() {
    let mut zeroes = BlkScoreboard::new(SEED);
    assert_eq!(read(&mut zeroes, 5, &[0; 1024]), Ok(()));
    assert!(read(&mut zeroes, 5, &[1; 1024]).is_err());
    let mut image =
        BlkScoreboard::new(SEED).with_original(|sector, bytes| bytes.fill(sector as u8));
    assert_eq!(read(&mut image, 5, &[[5; 512], [6; 512]].concat()), Ok(()));
    assert!(read(&mut image, 5, &[0; 512]).is_err());
}

/// Virtio 1.4, "Block Device": a discarded sector may hold anything, one written with zeroes may not.
#[test]
fn a_discarded_sector_may_hold_anything_and_a_zeroed_one_zeroes() {
    let mut board = BlkScoreboard::new(SEED);
    let (_, bytes) = write(&mut board, 0, 4);
    let id = board.issue(Access::Discard, 0, 2);
    board.complete(id, &[]).unwrap();
    let id = board.issue(Access::WriteZeroes, 2, 1);
    board.complete(id, &[]).unwrap();
    assert_eq!(read(&mut board, 0, &[7; 1024]), Ok(()));
    assert_eq!(read(&mut board, 2, &[0; 512]), Ok(()));
    assert!(read(&mut board, 2, &bytes[1024..1536]).is_err());
    assert_eq!(read(&mut board, 3, &bytes[1536..]), Ok(()));
}

/// Virtio 1.4, "Block Device: Device Operation": commands in flight together have no order.
#[test]
fn a_read_in_flight_with_a_write_may_see_either() {
    for write_completes_first in [true, false] {
        for sees_new in [true, false] {
            let mut board = BlkScoreboard::new(SEED);
            let (_, old) = write(&mut board, 8, 1);
            let reading = board.issue(Access::Read, 8, 1);
            let writing = board.issue(Access::Write, 8, 1);
            let new = brought(&board, writing, 1);
            if write_completes_first {
                board.complete(writing, &[]).unwrap();
            }
            assert_eq!(board.complete(reading, if sees_new { &new } else { &old }), Ok(()));
            if !write_completes_first {
                board.complete(writing, &[]).unwrap();
            }
            assert!(read(&mut board, 8, &old).is_err(), "the write is over");
            assert_eq!(read(&mut board, 8, &new), Ok(()));
        }
    }
}

#[test]
fn of_two_writes_in_flight_together_either_may_win() {
    let mut board = BlkScoreboard::new(SEED);
    let (_, old) = write(&mut board, 0, 4);
    let one = board.issue(Access::Write, 0, 3);
    let two = board.issue(Access::Write, 2, 2);
    let (first, second) = (brought(&board, one, 3), brought(&board, two, 2));
    board.complete(two, &[]).unwrap();
    board.complete(one, &[]).unwrap();
    for shared in [&first[1024..], &second[..512]] {
        assert_eq!(read(&mut board, 2, shared), Ok(()));
    }
    assert!(read(&mut board, 2, &old[1024..1536]).is_err());
    assert_eq!(read(&mut board, 0, &first[..1024]), Ok(()));
    assert_eq!(read(&mut board, 3, &second[512..]), Ok(()));
    let (_, third) = write(&mut board, 2, 1);
    assert!(read(&mut board, 2, &first[1024..]).is_err(), "a later write ends the doubt");
    assert_eq!(read(&mut board, 2, &third), Ok(()));
}

#[test]
fn a_failed_write_leaves_anything_behind() {
    let mut board = BlkScoreboard::new(SEED);
    let id = board.issue(Access::Write, 0, 1);
    board.fail(id).unwrap();
    assert_eq!(read(&mut board, 0, &[3; 512]), Ok(()));
    assert_eq!(read(&mut board, 1, &[0; 512]), Ok(()));
}

#[test]
fn a_command_completes_once_and_what_never_completed_is_reported() {
    let mut board = BlkScoreboard::new(SEED);
    let (id, _) = write(&mut board, 0, 1);
    assert_eq!(board.complete(id, &[]), Err(BlkFinding::NotInFlight { command: id }));
    let id = board.issue(Access::Read, 40, 2);
    let lost = BlkFinding::NeverCompleted {
        command: id,
        access: Access::Read,
        first_sector: 40,
        sectors: 2,
    };
    assert_eq!(board.finish(), [lost]);
}

#[test]
fn a_short_read_is_a_finding() {
    let mut board = BlkScoreboard::new(SEED);
    let id = board.issue(Access::Read, 0, 2);
    let finding = BlkFinding::WrongLength { command: id, asked: 1024, got: 512 };
    assert_eq!(board.complete(id, &[0; 512]), Err(finding));
}

/// What a correct disk does with commands carried out in an order of its own.
fn play(steps: &[(u8, u64, u64, usize)]) -> (BlkScoreboard, Vec<u8>, Result<(), BlkFinding>) {
    let mut board = BlkScoreboard::new(SEED);
    let mut disk = vec![0; 64 * SECTOR_BYTES];
    let mut queue: Vec<(CommandId, Access, u64, u64)> = Vec::new();
    let mut outcome = Ok(());
    for &(kind, first, sectors, pick) in steps {
        let access = match kind {
            0 | 1 => Access::Write,
            2 => Access::WriteZeroes,
            3 => Access::Discard,
            4..=6 => Access::Read,
            _ => {
                if !queue.is_empty() {
                    let command = queue.remove(pick % queue.len());
                    outcome = outcome.and(carry_out(&mut board, &mut disk, command));
                }
                continue;
            }
        };
        queue.push((board.issue(access, first, sectors), access, first, sectors));
    }
    for command in queue {
        outcome = outcome.and(carry_out(&mut board, &mut disk, command));
    }
    (board, disk, outcome)
}

fn carry_out(
    board: &mut BlkScoreboard,
    disk: &mut [u8],
    (id, access, first, sectors): (CommandId, Access, u64, u64),
) -> Result<(), BlkFinding> {
    let place = &mut disk[first as usize * SECTOR_BYTES..][..sectors as usize * SECTOR_BYTES];
    match access {
        Access::Read => return board.complete(id, place),
        Access::Write => board.fill(id, place),
        Access::WriteZeroes => place.fill(0),
        Access::Discard => place.fill(0xdd),
    }
    board.complete(id, &[])
}

proptest! {
    #[test]
    fn a_correct_disk_never_has_a_finding(
        steps in prop::collection::vec((0..14u8, 0..48u64, 1..16u64, any::<usize>()), 0..80),
    ) {
        let (mut board, disk, outcome) = play(&steps);
        prop_assert_eq!(outcome, Ok(()));
        prop_assert_eq!(read(&mut board, 0, &disk), Ok(()));
    }

    #[test]
    fn a_flipped_bit_is_found_wherever_the_content_is_defined(
        steps in prop::collection::vec((0..14u8, 0..48u64, 1..16u64, any::<usize>()), 0..40),
        at in 0..64 * SECTOR_BYTES,
    ) {
        let (mut board, mut disk, _) = play(&steps);
        let sector = (at / SECTOR_BYTES) as u64;
        let free = board.extents.pieces(sector, sector + 1).any(|(_, _, held)| held == Held::Anything);
        disk[at] ^= 4;
        prop_assert_eq!(read(&mut board, 0, &disk).is_ok(), free);
    }
}
