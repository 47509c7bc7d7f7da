/* A solver that prints with stdio's own buffering: into a file its lines come in blocks of 4 kB. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

int main(void) {
    enum { N = 200000, STEPS = 1500 };
    double *x = malloc(N * sizeof *x), sum = 0;
    for (int i = 0; i < N; i++) x[i] = i;
    for (int step = 1; step <= STEPS; step++) {
        for (int round = 0; round < 6; round++)
            for (int i = 0; i < N; i++) x[i] = sin(x[i]) + 1e-3 * i;
        sum += x[step];
        printf("step %d/%d residual %.6e\n", step, STEPS, fabs(sum) / step);
    }
    return 0;
}
