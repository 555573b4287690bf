//! Headers of every kind of message. What can be read can be written, and is then read as the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nuna_wire::message::{
    Fetch, Fetched, FromClient, FromWorker, Greeting, GreetingAnswer, Role, RoleAnswer, ToClient, ToWorker,
};

macro_rules! read {
    ($kind:expr, $bytes:expr, $($number:literal => $message:ty),*) => {
        match $kind {
            $($number => if let Ok(message) = postcard::from_bytes::<$message>($bytes) {
                let written = postcard::to_stdvec(&message).expect("what was read can be written");
                let again = postcard::from_bytes::<$message>(&written).expect("what was written can be read");
                assert_eq!(again, message);
            })*
            _ => {}
        }
    };
}

fuzz_target!(|data: &[u8]| {
    let Some((kind, bytes)) = data.split_first() else { return };
    if kind % 10 == 2
        && let Ok(FromClient::Submit { plan, .. }) = postcard::from_bytes(bytes)
    {
        let _ = plan.validate();
    }
    read!(kind % 10, bytes, 0 => Greeting, 1 => Role, 2 => FromClient, 3 => FromWorker, 4 => ToClient, 5 => ToWorker,
        6 => Fetch, 7 => Fetched, 8 => RoleAnswer, 9 => GreetingAnswer);
});
