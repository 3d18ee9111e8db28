//! Another binary takes over, and nobody notices.

mod connections;
mod faults;
mod limits;
mod process;
mod refused;
mod sockets;
mod state;

use crate::support::{Daemon, Origin, Setup};

/// `front` relays to one origin, `echo` echoes.
fn config(origin: &Origin, more: &str) -> String {
    format!(
        "{more}
         [[listener]]\nname = \"front\"\naddress = \"127.0.0.1:0\"\nprotocol = \"tcp\"\npool = \"back\"\n
         [[listener]]\nname = \"echo\"\naddress = \"127.0.0.1:0\"\nprotocol = \"echo\"\n
         [[pool]]\nname = \"back\"\nendpoints = [\"{}\"]\n",
        origin.address
    )
}

fn serving(origin: &Origin) -> Daemon {
    Setup::config(&config(origin, "[workers]\ncount = 2\n")).start()
}
