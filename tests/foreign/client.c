/* A client over libzmq: client ENDPOINT < MESSAGES; each line is a message, its frames set apart by tabs. */

#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

static void fail(const char *what) {
    fprintf(stderr, "%s: %s\n", what, zmq_strerror(zmq_errno()));
    exit(1);
}

int main(int count, char **arguments) {
    if (count != 2) {
        fputs("usage: client ENDPOINT\n", stderr);
        return 64;
    }
    void *context = zmq_ctx_new();
    void *push = zmq_socket(context, ZMQ_PUSH);
    int linger = 30000;
    zmq_setsockopt(push, ZMQ_LINGER, &linger, sizeof linger);
    if (zmq_connect(push, arguments[1]) != 0)
        fail("connect");
    char *line = NULL;
    size_t room = 0;
    ssize_t length;
    while ((length = getline(&line, &room, stdin)) > 0) {
        if (line[length - 1] == '\n')
            line[--length] = 0;
        char *frame = line, *tab;
        while ((tab = memchr(frame, '\t', line + length - frame)) != NULL) {
            if (zmq_send(push, frame, tab - frame, ZMQ_SNDMORE) < 0)
                fail("send");
            frame = tab + 1;
        }
        if (zmq_send(push, frame, line + length - frame, 0) < 0)
            fail("send");
    }
    free(line);
    zmq_close(push);
    zmq_ctx_term(context);
    return 0;
}
