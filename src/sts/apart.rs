//! A call on a thread of its own: what it leaves on its stack is overwritten before the thread ends, and its work delays
//! nothing else.

use std::hint::black_box;
use std::thread;

use tokio::runtime::Builder;
use tokio::sync::oneshot;
use zeroize::Zeroize;

use super::client::Sts;
use crate::domain::signed_call::{CallFailure, Caller, Reason};
use crate::domain::{Region, SigningCredentials};

/// How much of the stack is overwritten, in bytes: the thread's whole stack is twice as large.
const OVERWRITTEN: usize = 256 * 1024;

impl Sts {
    /// As [`Sts::call`]; only the account and the role survive it.
    ///
    /// # Errors
    /// Why AWS did not say.
    pub async fn call_apart(&self, region: Region, credentials: SigningCredentials) -> Result<Caller, CallFailure> {
        let (sender, receiver) = oneshot::channel();
        let sts = self.clone();
        let thread = thread::Builder::new().name("sts".to_owned()).stack_size(2 * OVERWRITTEN).spawn(move || {
            let result = run(&sts, &region, credentials);
            overwrite_stack();
            let _nobody_waits = sender.send(result);
        });
        thread.map_err(|_| Reason::Unexpected)?;
        receiver.await.unwrap_or(Err(Reason::Unexpected.into()))
    }
}

/// Its frame, and those of all that it calls, are below that of the thread's closure.
#[inline(never)]
fn run(sts: &Sts, region: &Region, credentials: SigningCredentials) -> Result<Caller, CallFailure> {
    let runtime = Builder::new_current_thread().enable_all().build().map_err(|_| Reason::Unexpected)?;
    let result = runtime.block_on(sts.call(region, credentials));
    // A look-up of a name may hang: nothing waits for it.
    runtime.shutdown_background();
    result.map(|identity| identity.caller)
}

#[inline(never)]
#[expect(clippy::large_stack_arrays, reason = "it covers what lies there")]
fn overwrite_stack() {
    let mut below = [0_u8; OVERWRITTEN];
    below.zeroize();
    black_box(&below);
}
