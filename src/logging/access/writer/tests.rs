use super::*;

#[test]
fn the_wall_clock_goes_back_from_now() {
    let moment = Moment::now();
    let ago = Duration::from_millis(1500);
    assert_eq!(moment.wall(moment.instant.checked_sub(ago).unwrap()), moment.wall - ago);
    assert_eq!(moment.wall(moment.instant + ago), moment.wall, "never ahead of it");
}
