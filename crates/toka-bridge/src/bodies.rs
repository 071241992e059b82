//! Bodies of requests: each within a time, and of all of them together so much at once.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::extract::Request;
use futures::StreamExt as _;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// What one permit stands for, bytes.
const PERMIT_BYTES: usize = 1 << 10;

/// The room that there is for bodies. A request takes as much of it as it has sent so far, so that who sends slowly takes
/// little, and none waits for another one.
#[derive(Debug)]
pub struct Bodies {
    room: Arc<Semaphore>,
    request_bytes_max: usize,
    all_bytes_max: usize,
    time_max: Duration,
}

/// The room that a body takes, until this is dropped.
#[derive(Debug)]
pub struct Room(Option<OwnedSemaphorePermit>);

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// It is larger than a request may be.
    #[error("the request has more than {max} bytes")]
    TooLarge {
        /// The limit, bytes.
        max: usize,
    },
    /// With the others that are there it is too much.
    #[error("requests of {max} bytes are being read; send it again later")]
    Full {
        /// The limit of all together, bytes.
        max: usize,
    },
    /// It has not come in time.
    #[error("the request was not sent within {seconds} s")]
    Late {
        /// How long it had.
        seconds: u64,
    },
    /// It has ended before its end.
    #[error("the request has broken off")]
    Broken,
}

impl Bodies {
    /// Room for requests of so many bytes each, and all together, which take so long at most.
    #[must_use]
    pub fn new(request_bytes_max: usize, all_bytes_max: usize, time_max: Duration) -> Self {
        Self {
            room: Arc::new(Semaphore::new(all_bytes_max / PERMIT_BYTES)),
            request_bytes_max,
            all_bytes_max,
            time_max,
        }
    }

    /// The request with its body in memory, and the room that this takes.
    ///
    /// # Errors
    /// [`BodyError`].
    pub async fn read(&self, request: Request) -> Result<(Request, Room), BodyError> {
        let (parts, body) = request.into_parts();
        let announced = length(&parts.headers).unwrap_or(0);
        if announced > self.request_bytes_max {
            return Err(self.too_large());
        }
        let reading = self.whole(body.into_data_stream());
        let read = timeout(self.time_max, Box::pin(reading)).await;
        let late = BodyError::Late {
            seconds: self.time_max.as_secs(),
        };
        let (bytes, room) = read.unwrap_or(Err(late))?;
        Ok((Request::from_parts(parts, Body::from(bytes)), room))
    }

    async fn whole(&self, mut parts: BodyDataStream) -> Result<(Vec<u8>, Room), BodyError> {
        let (mut bytes, mut room) = (Vec::<u8>::new(), Room(None));
        while let Some(part) = parts.next().await {
            let part = part.map_err(|_| BodyError::Broken)?;
            if bytes.len() + part.len() > self.request_bytes_max {
                return Err(self.too_large());
            }
            self.extend(&mut room, bytes.len() + part.len())?;
            bytes.extend_from_slice(&part);
        }
        Ok((bytes, room))
    }

    /// Takes what is missing until there is room for so many bytes.
    fn extend(&self, room: &mut Room, bytes: usize) -> Result<(), BodyError> {
        let taken = room.permits();
        let missing = bytes.div_ceil(PERMIT_BYTES).saturating_sub(taken);
        if missing == 0 {
            return Ok(());
        }
        let full = BodyError::Full {
            max: self.all_bytes_max,
        };
        let Ok(missing) = u32::try_from(missing) else {
            return Err(full);
        };
        let Ok(further) = Arc::clone(&self.room).try_acquire_many_owned(missing) else {
            return Err(full);
        };
        match &mut room.0 {
            Some(held) => held.merge(further),
            None => room.0 = Some(further),
        }
        Ok(())
    }

    fn too_large(&self) -> BodyError {
        BodyError::TooLarge {
            max: self.request_bytes_max,
        }
    }
}

impl Room {
    fn permits(&self) -> usize {
        let held = self.0.as_ref();
        held.map_or(0, OwnedSemaphorePermit::num_permits)
    }
}

fn length(headers: &HeaderMap) -> Option<usize> {
    let length = headers.get(CONTENT_LENGTH)?.to_str().ok()?;
    length.parse().ok()
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use http::HeaderValue;

    use super::*;

    fn bodies() -> Bodies {
        Bodies::new(8 << 10, 16 << 10, Duration::from_millis(20))
    }

    fn request(bytes: usize) -> Request {
        Request::new(Body::from(vec![7; bytes]))
    }

    #[tokio::test]
    async fn a_body_takes_room_until_that_is_dropped() {
        let bodies = bodies();
        let (read, room) = bodies.read(request(2_000)).await.expect("read");
        assert_eq!(bodies.room.available_permits(), 14);
        let bytes = to_bytes(read.into_body(), 2_000).await.expect("in memory");
        assert_eq!(bytes, vec![7; 2_000]);
        drop(room);
        assert_eq!(bodies.room.available_permits(), 16);
        let (_, room) = bodies.read(request(0)).await.expect("nothing to read");
        assert_eq!(room.permits(), 0);
    }

    #[tokio::test]
    async fn a_body_that_is_too_large_is_refused_announced_or_not() {
        let bodies = bodies();
        let mut announced = request(0);
        let length = HeaderValue::from_static("8193");
        announced.headers_mut().insert(CONTENT_LENGTH, length);
        for sent in [announced, request(8_193)] {
            let error = bodies.read(sent).await.expect_err("too large");
            assert!(
                matches!(error, BodyError::TooLarge { max: 8_192 }),
                "{error}"
            );
        }
    }

    #[tokio::test]
    async fn what_does_not_fit_beside_the_others_is_refused_and_leaves_nothing_behind() {
        let bodies = bodies();
        let (_, first) = bodies.read(request(8_192)).await.expect("room");
        let (_, _second) = bodies.read(request(7_000)).await.expect("room");
        let error = bodies.read(request(2_000)).await.expect_err("full");
        assert!(matches!(error, BodyError::Full { max: 16_384 }), "{error}");
        drop(first);
        let third = bodies.read(request(2_000)).await;
        assert!(third.is_ok());
    }

    #[tokio::test]
    async fn who_never_ends_is_late() {
        let begun = futures::stream::once(async { Ok::<_, std::io::Error>("begun") });
        let never = begun.chain(futures::stream::pending());
        let sent = Request::new(Body::from_stream(never));
        let bodies = bodies();
        let error = bodies.read(sent).await.expect_err("late");
        assert!(matches!(error, BodyError::Late { .. }), "{error}");
        assert_eq!(bodies.room.available_permits(), 16);
    }
}
