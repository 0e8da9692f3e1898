/** How long to wait before coming back: 1 s, 2 s, 4 s … 30 s, with full jitter, so that many clients do not come at once. */

export interface BackoffOptions {
  /** Milliseconds; 1,000 if nothing is said. */
  min?: number;
  /** Milliseconds; 30,000 if nothing is said. */
  max?: number;
}

export function pause(attempt: number, { min = 1_000, max = 30_000 }: BackoffOptions = {}, random = Math.random): number {
  const ceiling = Math.min(max, min * 2 ** Math.min(attempt, 20));
  return Math.round(random() * ceiling);
}
