/** What pressing the button does: one table, so that a user can learn it and a test can read it. */

export interface ICellState {
  /** Whether the cell's metadata says that the button is on. */
  readonly on: boolean;
  /** Whether the cell is executing or waits for its turn. */
  readonly running: boolean;
  /** Whether a job of the cell runs that can be cancelled. */
  readonly cancellable: boolean;
}

/**
 * - `run`: turn the button on and run the cell;
 * - `on`: turn it on for the next run, as one is under way already;
 * - `off`: turn it off, run nothing;
 * - `cancel`: cancel the cell's job;
 * - `none`: it runs here, or waits: ■ is what stops it.
 */
export type Press = 'run' | 'on' | 'off' | 'cancel' | 'none';

export function press({ on, running, cancellable }: ICellState): Press {
  if (cancellable) {
    return 'cancel';
  }
  if (!on) {
    return running ? 'on' : 'run';
  }
  return running ? 'none' : 'off';
}
