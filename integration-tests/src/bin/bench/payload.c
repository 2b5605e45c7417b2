/* What the measured containers run. Linked statically: the cost of a dynamic linker is not what is compared.
 * As `true`: ends at once. As `lines N`: writes N bytes of 64-byte lines in blocks of 64 KiB. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv) {
    static char block[64 * 1024];
    if (argc < 2)
        return 0;
    long long left = atoll(argv[1]);
    memset(block, 'x', sizeof block);
    for (size_t end = 63; end < sizeof block; end += 64)
        block[end] = '\n';
    while (left > 0) {
        ssize_t wrote = write(1, block, left < (long long)sizeof block ? (size_t)left : sizeof block);
        if (wrote < 0)
            return 1;
        left -= wrote;
    }
    return 0;
}
