/* Stages of a waldo topology in C: link with -lwaldo. Made by cbindgen from src/lib.rs: change that, then run
   `REWRITE=1 cargo test -p waldo-c`. */

#ifndef WALDO_H
#define WALDO_H

#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>

/*
 It couldn't be done: `waldo_error` says why.
 */
#define WALDO_FAILED -1

/*
 A source wants to send, but is asked to stop: it is to finish, and to exit with status 0.
 */
#define WALDO_STOPPED -2

/*
 A stage of a topology: an inbox and an outbox.
 */
typedef struct waldo_stage waldo_stage;

/*
 A record. What it points to stays until the next one is asked for, or the stage is finished or closed.
 */
typedef struct {
  /*
   The flow's name.
   */
  const char *flow;
  /*
   The key.
   */
  const uint8_t *key;
  /*
   How long the key is; 0 if there is none. Bytes.
   */
  size_t key_length;
  /*
   The payload: any bytes, and nothing behind them.
   */
  const uint8_t *payload;
  /*
   How long the payload is. Bytes.
   */
  size_t payload_length;
} waldo_record;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/*
 Why the last function that failed in this thread did. Good until the next one fails.
 */
const char *waldo_error(void);

/*
 Opens the stage that the launcher started this process for: binds its inbox, connects its outputs, and says that it is
 ready. NULL if it can't be.
 */
waldo_stage *waldo_open(void);

/*
 Waits for the next record: 1 if there is one, 0 once the stage is asked to stop and its inbox is dry, or `WALDO_FAILED`.
 The record that was received before counts as done: by now all that it caused has been sent.

 # Safety
 `stage` is open, and `record` can be written.
 */
int waldo_receive(waldo_stage *stage,
                  waldo_record *record);

/*
 The same without waiting: 0 if there is none now.

 # Safety
 As for `waldo_receive`.
 */
int waldo_try_receive(waldo_stage *stage, waldo_record *record);

/*
 Sends a record; waits while there is no room for it. 0, `WALDO_FAILED`, or `WALDO_STOPPED` for a source that is asked to
 stop. The key is used where the flow's key rule is `sender`; for other rules it is found in the payload.

 # Safety
 `stage` is open, `flow` ends with a zero, and the others are as long as they are said to be. NULL is as good as empty.
 */
int waldo_send(waldo_stage *stage,
               const char *flow,
               const void *key,
               size_t key_length,
               const void *payload,
               size_t payload_length);

/*
 Sends what is in batches, for a source that knows that it has no more for now; else a record waits for company for up to
 1 ms. 0 or `WALDO_FAILED`.

 # Safety
 `stage` is open.
 */
int waldo_flush(waldo_stage *stage);

/*
 Whether the stage is asked to stop.

 # Safety
 `stage` is open.
 */
bool waldo_stopping(const waldo_stage *stage);

/*
 The stage's name.

 # Safety
 `stage` is open; the name is there as long.
 */
const char *waldo_name(const waldo_stage *stage);

/*
 Where to keep what must outlive the process: a directory.

 # Safety
 `stage` is open; the path is there as long.
 */
const char *waldo_state_directory(const waldo_stage *stage);

/*
 Leaves with nothing in hand: sends everything, waits until receivers have confirmed it, and closes. 0 or `WALDO_FAILED`;
 the stage is gone either way.

 # Safety
 `stage` is open, or NULL.
 */
int waldo_finish(waldo_stage *stage);

/*
 Closes at once: the record in hand doesn't count as done. For a program that leaves by an error.

 # Safety
 As for `waldo_finish`.
 */
void waldo_close(waldo_stage *stage);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* WALDO_H */
