/* The hotel's guest book: one process per guest, on TCP port 1337. */

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct entry {
    char name[32];
    void (*leave)(void);
};

static void say(const char *text)
{
    fputs(text, stdout);
    fflush(stdout);
}

static void good_bye(void)
{
    say("Good-bye.\n");
}

/* The night porter opens the vault. Nothing in the book refers to him. */
__attribute__((section(".porter"), used)) static void porter(void)
{
    char content[128];
    int vault = open("/answers/flag", O_RDONLY);
    ssize_t length = read(vault, content, sizeof content - 2);

    if (length > 0) {
        content[length] = '\n';
        content[length + 1] = '\0';
        say(content);
    }
    _exit(0);
}

static void read_name(char *name)
{
    while (read(STDIN_FILENO, name, 1) == 1 && *name != '\n')
        name++;
    *name = '\0';
}

static void serve_guest(void)
{
    struct entry entry = { .leave = good_bye };

    alarm(30);
    say("Guest book of the Grand Hotel. Your name, please: ");
    read_name(entry.name);
    entry.leave();
    _exit(0);
}

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

int main(void)
{
    struct sockaddr_in here = { .sin_family = AF_INET, .sin_port = htons(1337) };
    int door = socket(AF_INET, SOCK_STREAM, 0);
    int yes = 1;

    if (door < 0)
        fail("socket");
    setsockopt(door, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(door, (struct sockaddr *)&here, sizeof here) != 0)
        fail("bind");
    if (listen(door, 32) != 0)
        fail("listen");
    signal(SIGCHLD, SIG_IGN);

    for (;;) {
        int guest = accept(door, NULL, NULL);

        if (guest < 0)
            continue;
        if (fork() == 0) {
            close(door);
            dup2(guest, STDIN_FILENO);
            dup2(guest, STDOUT_FILENO);
            close(guest);
            serve_guest();
        }
        close(guest);
    }
}
