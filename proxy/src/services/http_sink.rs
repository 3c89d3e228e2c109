//! Records over HTTP: batches, retried with growing pauses until their time is over.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use proxy_core::plugin::{Framing, HttpTarget, Queue};
use rustls::ClientConfig;
use tokio::time::{Instant, sleep};

use super::queue::Exit;

/// Empties the queue until it is closed.
pub(super) async fn run(target: HttpTarget, exit: Exit, tls: Arc<ClientConfig>) {
    let HttpTarget { owner, url, method, headers, timeout, framing, queue } = target;
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(ClientConfig::clone(&tls))
        .timeout(timeout)
        .redirect(reqwest::redirect::Policy::none())
        .build();
    let client = match client {
        Ok(client) => client,
        Err(error) => {
            tracing::error!(plugin = owner, %error, "failed to make an HTTP client for log records");
            return;
        }
    };
    while let Some(records) = exit.batch(queue.max_batch_size, queue.max_coalescing_delay).await {
        let body = frame(&records, framing, queue.max_batch_size);
        let send = || {
            client.request(method.clone(), &url).headers(headers.clone()).body(body.clone()).send()
        };
        let outcome = retry(&queue, || async {
            match send().await {
                Ok(answer) if answer.status().as_u16() < 300 => Ok(()),
                Ok(answer) => Err(answer.status().to_string()),
                Err(error) => Err(error.without_url().to_string()),
            }
        });
        if let Err(error) = outcome.await {
            tracing::warn!(plugin = owner, records = records.len(), error, "log records are lost");
        }
    }
}

async fn retry<F: Future<Output = Result<(), String>>>(
    queue: &Queue,
    attempt: impl Fn() -> F,
) -> Result<(), String> {
    let deadline = Instant::now() + queue.max_retry_time;
    let mut pause = queue.initial_retry_delay;
    loop {
        let Err(error) = attempt().await else { return Ok(()) };
        if Instant::now() > deadline {
            return Err(error);
        }
        sleep(pause).await;
        pause = (pause * 2).min(queue.max_retry_delay);
    }
}

fn frame(records: &[Bytes], framing: Framing, most: usize) -> Bytes {
    let list = match framing {
        Framing::Concatenated => return records.concat().into(),
        Framing::JsonList => true,
        // A queue that may hold several always sends a list.
        Framing::JsonOrList => most > 1,
    };
    match records {
        [one] if !list => one.clone(),
        many => {
            let mut body = BytesMut::new();
            for (at, record) in many.iter().enumerate() {
                body.put_u8(if at == 0 { b'[' } else { b',' });
                body.put_slice(record);
            }
            body.put_u8(b']');
            body.freeze()
        }
    }
}
