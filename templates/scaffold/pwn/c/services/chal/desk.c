/* The ferry's ticket desk: one process per passenger, on standard input and output. */

#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct ticket {
    char name[32];
    char place[8];
};

static void read_name(char *name)
{
    int c;

    while ((c = getchar()) != EOF && c != '\n')
        *name++ = (char)c;
    *name = '\0';
}

static void show_log_book(void)
{
    char entry[128] = "";
    FILE *book = fopen("/answers/flag", "r");

    if (book && fgets(entry, sizeof entry, book))
        printf("Last entry: %s\n", entry);
}

int main(void)
{
    struct ticket ticket = { .place = "deck" };

    setvbuf(stdout, NULL, _IONBF, 0);
    alarm(30);
    puts("Ferry ticket desk");
    printf("Your name: ");
    read_name(ticket.name);
    printf("%s, please go to the %s.\n", ticket.name, ticket.place);
    if (strcmp(ticket.place, "bridge") == 0)
        show_log_book();
    return 0;
}
