//! A frame of a message, as libzmq has it: sent, received and shared without a copy.
//!
//! The `zmq` crate's own type can't be shared. What is kept until a receipt covers it would need a copy of its own, and
//! copying is a good part of what a record costs.

use std::{
    ffi::{c_int, c_void},
    ops::Deref,
};

use zmq::Socket;

/// One frame. Cheap to move.
pub struct Frame {
    message: zmq_sys::zmq_msg_t,
    is_shared: bool,
}

unsafe extern "C" fn drop_bytes(_: *mut c_void, hint: *mut c_void) {
    // SAFETY: `hint` is what `Frame::from` made of a box, and libzmq calls this once.
    drop(unsafe { Box::from_raw(hint.cast::<Vec<u8>>()) });
}

/// libzmq's calls that answer -1 if they fail.
fn checked(answer: c_int) -> zmq::Result<()> {
    // SAFETY: only reads the thread's errno.
    if answer == -1 { Err(zmq::Error::from_raw(unsafe { zmq_sys::zmq_errno() })) } else { Ok(()) }
}

impl Frame {
    fn empty() -> Self {
        let mut message = zmq_sys::zmq_msg_t::default();
        // SAFETY: any memory of this type may be initialised. It can't fail.
        unsafe { zmq_sys::zmq_msg_init(&raw mut message) };
        Self { message, is_shared: false }
    }

    /// The next frame, if one is there.
    ///
    /// # Errors
    /// libzmq's, but for an interruption.
    #[inline]
    pub fn receive(socket: &mut Socket) -> zmq::Result<Option<Self>> {
        let mut frame = Self::empty();
        loop {
            // SAFETY: the message is initialised, and the socket open as long as its owner lives.
            let answer = unsafe {
                zmq_sys::zmq_msg_recv(&raw mut frame.message, socket.as_mut_ptr(), zmq_sys::ZMQ_DONTWAIT as c_int)
            };
            match checked(answer) {
                Ok(()) => return Ok(Some(frame)),
                Err(zmq::Error::EAGAIN) => return Ok(None),
                Err(zmq::Error::EINTR) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends it as a message, or with `more` as a frame of one. Doesn't wait.
    ///
    /// # Errors
    /// libzmq's: it hasn't been sent then.
    pub fn send(mut self, socket: &mut Socket, more: bool) -> zmq::Result<()> {
        let flags = zmq_sys::ZMQ_DONTWAIT | if more { zmq_sys::ZMQ_SNDMORE } else { 0 };
        // SAFETY: as in `receive`. What has been sent is left empty, and may be closed as ever.
        checked(unsafe { zmq_sys::zmq_msg_send(&raw mut self.message, socket.as_mut_ptr(), flags as c_int) })
    }

    /// Whether another frame of the same message follows.
    pub fn has_more(&self) -> bool {
        // SAFETY: only reads.
        unsafe { zmq_sys::zmq_msg_more(&raw const self.message) != 0 }
    }

    /// Another handle to the same bytes, which can't be changed from now on.
    #[must_use]
    pub fn share(&mut self) -> Self {
        let mut other = Self::empty();
        // SAFETY: both are initialised.
        let copied = unsafe { zmq_sys::zmq_msg_copy(&raw mut other.message, &raw mut self.message) };
        debug_assert_eq!(copied, 0, "only what isn't a message can't be shared");
        self.is_shared = true;
        other.is_shared = true;
        other
    }

    /// The bytes, to be changed, if nobody else has them.
    pub fn exclusive(&mut self) -> Option<&mut [u8]> {
        let (data, length) = self.raw();
        // SAFETY: as in `deref`, and never shared.
        (!self.is_shared).then(|| unsafe { std::slice::from_raw_parts_mut(data, length) })
    }

    #[inline]
    fn raw(&self) -> (*mut u8, usize) {
        let message = &raw const self.message;
        // SAFETY: libzmq only reads here, though it asks for a mutable pointer.
        unsafe { (zmq_sys::zmq_msg_data(message.cast_mut()).cast(), zmq_sys::zmq_msg_size(message)) }
    }
}

impl Default for Frame {
    fn default() -> Self {
        Self::empty()
    }
}

impl From<Vec<u8>> for Frame {
    /// A frame of these bytes, without a copy.
    fn from(bytes: Vec<u8>) -> Self {
        let mut frame = Self::empty();
        if bytes.is_empty() {
            return frame;
        }
        let hint = Box::into_raw(Box::new(bytes));
        // SAFETY: the vector stays where it is until libzmq calls `drop_bytes` with it. An empty message needn't be closed
        // before it is initialised again.
        let made = unsafe {
            let (data, length) = ((*hint).as_mut_ptr().cast(), (*hint).len());
            zmq_sys::zmq_msg_init_data(&raw mut frame.message, data, length, Some(drop_bytes), hint.cast())
        };
        assert_eq!(made, 0, "out of memory");
        frame
    }
}

impl Deref for Frame {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        let (data, length) = self.raw();
        // SAFETY: the bytes live as long as the frame, and small ones, which move with it, aren't moved while borrowed.
        unsafe { std::slice::from_raw_parts(data, length) }
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        // SAFETY: it is initialised, and closed only here.
        unsafe { zmq_sys::zmq_msg_close(&raw mut self.message) };
    }
}

#[cfg(test)]
mod tests {
    use zmq::{Context, PAIR};

    use super::*;

    #[test]
    fn what_is_shared_and_sent_stays_readable_and_unchanged() {
        for length in [0, 5, 33, 34, 10_000, 300_000] {
            let context = Context::new();
            let (mut from, mut to) = (context.socket(PAIR).unwrap(), context.socket(PAIR).unwrap());
            to.bind("inproc://frames").unwrap();
            from.connect("inproc://frames").unwrap();
            let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let mut kept = Frame::from(bytes.clone());
            assert!(kept.exclusive().is_some());
            kept.share().send(&mut from, true).unwrap();
            kept.share().send(&mut from, false).unwrap();
            assert!(kept.exclusive().is_none());
            for more in [true, false] {
                let got = Frame::receive(&mut to).unwrap().expect("has been sent");
                assert_eq!((&got[..], got.has_more()), (&bytes[..], more));
            }
            assert!(Frame::receive(&mut to).unwrap().is_none());
            assert_eq!(&kept[..], &bytes[..]);
        }
    }

    #[test]
    fn a_frame_that_was_received_can_be_changed_and_sent_on() {
        let context = Context::new();
        let (mut from, mut to) = (context.socket(PAIR).unwrap(), context.socket(PAIR).unwrap());
        to.bind("inproc://frames").unwrap();
        from.connect("inproc://frames").unwrap();
        for length in [5_usize, 1_000, 100_000] {
            Frame::from(vec![1; length]).send(&mut from, false).unwrap();
            let mut got = Frame::receive(&mut to).unwrap().expect("has been sent");
            got.exclusive().expect("nobody else has it")[length - 1] = 9;
            got.send(&mut to, false).unwrap();
            let back = Frame::receive(&mut from).unwrap().expect("has been sent back");
            assert_eq!((back.len(), back[0], back[length - 1]), (length, 1, 9));
        }
    }
}
