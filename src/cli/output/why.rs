//! `netctl why`.

use crate::pb;

use super::{Look, grid::Grid, objects, units};

/// The three layers of an object, the deciding one marked.
pub(crate) fn page(why: &pb::WhyResponse, look: Look) -> String {
    let mut text =
        units::printable(&format!("{}: {}\n{}\n\n", why.object, why.effective, why.explanation)).into_owned();
    let above = match &why.r#override {
        Some(above) => objects::describe(above, look.now),
        // A pool's endpoints have overrides of their own, which the sentence names.
        None if why.decided_by == "override" => "none of its own; those of its endpoints count".to_owned(),
        None => "none".to_owned(),
    };
    let mut grid = Grid::plain(look);
    for (layer, value) in [("configured", &why.configured), ("override", &above), ("observed", &why.observed)] {
        let mark = if why.decided_by == layer { "decides" } else { "" };
        grid.row([layer.to_owned(), mark.to_owned(), value.clone()]);
    }
    text.push_str(&grid.render());
    text
}
