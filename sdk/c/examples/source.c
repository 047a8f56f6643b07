/* Sends three odd records and ends; with an argument, goes on with numbers until it is asked to stop. */
#include <stdio.h>
#include <string.h>
#include <waldo.h>

int main(int count, char **arguments) {
    (void)arguments;
    waldo_stage *stage = waldo_open();
    if (!stage) {
        fprintf(stderr, "%s\n", waldo_error());
        return 1;
    }
    static unsigned char bytes[200000];
    for (size_t at = 0; at < sizeof bytes; at++)
        bytes[at] = at % 251;
    int sent = waldo_send(stage, "made", "\0k\t", 3, "zero \0 tab \t line \n end", 23);
    sent |= waldo_send(stage, "made", "", 0, bytes, sizeof bytes);
    sent |= waldo_send(stage, "made", "key", 3, "refuse me", 9);
    char number[32];
    for (long next = 0; count > 1 && sent == 0; next++) {
        int length = snprintf(number, sizeof number, "%ld", next);
        sent = waldo_send(stage, "made", "n", 1, number, length);
    }
    if (sent == WALDO_FAILED) {
        fprintf(stderr, "%s\n", waldo_error());
        return 1;
    }
    return waldo_finish(stage) ? 1 : 0;
}
