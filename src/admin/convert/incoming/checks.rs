//! Requests for checks.

use super::{Checked, name};
use crate::{control, pb};

/// Which endpoints.
pub(in crate::admin) fn check(request: pb::CheckRequest) -> Checked<control::CheckRequest> {
    let endpoint = match request.endpoint.as_str() {
        "" => None,
        _ => Some(name("endpoint", request.endpoint)?),
    };
    Ok(control::CheckRequest { pool: name("pool", request.pool)?, endpoint })
}
