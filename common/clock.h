/* Time for measuring: seconds of a clock that never goes back, from an arbitrary beginning. */
#ifndef HP_CLOCK_H
#define HP_CLOCK_H

double hp_clock(void);

#endif
