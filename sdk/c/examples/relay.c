/* Passes each record on. What the topology doesn't allow is told in the record's place.
 *
 *     cc relay.c -I sdk/c -L target/release -lwaldo -o relay
 */
#include <stdio.h>
#include <string.h>
#include <waldo.h>

static int failed(waldo_stage *stage) {
    fprintf(stderr, "%s\n", waldo_error());
    waldo_close(stage);
    return 1;
}

int main(void) {
    waldo_stage *stage = waldo_open();
    if (!stage)
        return failed(NULL);
    waldo_record record;
    int received;
    while ((received = waldo_receive(stage, &record)) == 1) {
        const void *payload = record.payload;
        size_t length = record.payload_length;
        /* A flow that this stage doesn't send. */
        if (length == 9 && !memcmp(payload, "refuse me", length)) {
            if (waldo_send(stage, "elsewhere", NULL, 0, payload, length) != WALDO_FAILED)
                return 2;
            payload = waldo_error();
            length = strlen(payload);
        }
        if (waldo_send(stage, "passed", record.key, record.key_length, payload, length))
            return failed(stage);
    }
    if (received == WALDO_FAILED)
        return failed(stage);
    return waldo_finish(stage) ? failed(NULL) : 0;
}
