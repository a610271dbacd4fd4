/**
 * What the server says: the values of its answers, as they travel.
 *
 * Times are Unix seconds, lengths of time seconds, money US dollars, memory bytes.
 */

export type JobState =
  | 'running'
  | 'cancelling'
  | 'done'
  | 'failed'
  | 'cancelled'
  | 'lost';

/** What a job was expected to cost or take when it started, and between which bounds. */
export interface IInterval {
  readonly expected: number;
  readonly low: number;
  readonly high: number;
}

export interface IJob {
  readonly id: string;
  readonly name: string;
  readonly kind: string;
  readonly backend: string;
  /** Whether the backend was emulated, so that it cost nothing. */
  readonly emulated: boolean;
  /** Relative to the server's root, as the contents API names it. */
  readonly notebook: string | null;
  readonly notebook_name: string | null;
  readonly cell_id: string | null;
  readonly state: JobState;
  /** Null while the length of the iterable is unknown. */
  readonly total: number | null;
  readonly done: number;
  /** Of those done, what the cache had. */
  readonly cached: number;
  readonly failed: number;
  readonly running: number;
  readonly workers: number;
  readonly created: number;
  readonly started: number | null;
  readonly ended: number | null;
  readonly elapsed: number;
  /** Items a second. */
  readonly rate: number | null;
  readonly eta: number | null;
  readonly task_seconds: number;
  readonly speed_up: number | null;
  readonly spend: number;
  /** The most that calls under way can still cost. */
  readonly committed: number;
  readonly expected_spend: number | null;
  readonly estimate: IInterval | null;
  readonly estimate_seconds: IInterval | null;
  /** What the estimates rest on, in words. */
  readonly estimate_basis: string | null;
  readonly budget: number | null;
  readonly error: string | null;
  readonly warnings: readonly string[];
  readonly retried: number;
  readonly lost_workers: number;
  readonly can_cancel: boolean;
  readonly can_retry: boolean;
  /** Whether another kernel can take hold of it. */
  readonly can_attach: boolean;
  /** Whether it goes on without the kernel that started it. */
  readonly detached: boolean;
}

/** A captured value, and how it travels to the workers. */
export interface ICaptured {
  readonly name: string;
  readonly type: string;
  readonly nbytes: number;
  readonly travels: string;
  readonly how: string;
  readonly mutable: boolean;
}

/** Older journals lack parts of it, so every part may be absent. */
export interface ICapture {
  readonly function?: string;
  readonly payload_nbytes?: number;
  readonly blobs_nbytes?: number;
  readonly values?: readonly ICaptured[];
  readonly packages?: Readonly<Record<string, string>>;
  readonly user_modules?: readonly string[];
}

export interface IJobDetails extends IJob {
  readonly source: string | null;
  readonly options: Readonly<Record<string, unknown>>;
  readonly capture: ICapture;
  /** What a cell was turned into, as `--dry-run` shows it. */
  readonly plan?: string | null;
  readonly seed: string | null;
  /** What a notebook runs to take hold of it; null where nothing does. */
  readonly attach: string | null;
  readonly host: string;
  readonly pid: number;
}

/** Where a feed goes on; only the server reads it. Null while there is no journal. */
export type Cursor = string | number | null;

export interface IJobs {
  readonly jobs: readonly IJob[];
  readonly total: number;
  readonly cursor: Cursor;
}

export interface IJobQuery {
  readonly limit?: number;
  readonly offset?: number;
  readonly state?: JobState;
  readonly notebook?: string;
  readonly search?: string;
}

/** Batches as columns: the n-th entry of each belongs to the n-th batch. */
export interface IBatchColumns {
  readonly row: readonly number[];
  readonly batch: readonly number[];
  readonly attempt: readonly number[];
  /** Index into `workers`. */
  readonly worker: readonly number[];
  readonly first: readonly number[];
  readonly count: readonly number[];
  readonly start: readonly number[];
  readonly end: readonly number[];
  /** Index into `statuses`. */
  readonly status: readonly number[];
  readonly failed: readonly number[];
  readonly cpu: readonly number[];
  readonly memory: readonly number[];
  readonly cost: readonly number[];
}

export interface IBatches {
  readonly workers: readonly string[];
  readonly statuses: readonly string[];
  readonly columns: IBatchColumns;
  readonly next: number;
  readonly more: boolean;
}

export interface IErrorGroup {
  readonly type: string;
  readonly message: string;
  readonly count: number;
  readonly traceback: string;
  readonly items: readonly { readonly index: number; readonly item: string }[];
}

export interface IErrors {
  readonly groups: readonly IErrorGroup[];
  readonly total: number;
}

export interface ILogPiece {
  readonly id: number;
  readonly item: number | null;
  readonly stream: string;
  readonly text: string;
}

export interface IBackend {
  readonly name: string;
  readonly title: string;
  readonly description: string;
  readonly in_use: boolean;
  /** Whether running there is billed. */
  readonly costs: boolean;
  readonly available: boolean;
  readonly problem: string | null;
  /** JSON schema of its settings. */
  readonly schema: Readonly<Record<string, unknown>>;
  readonly settings: Readonly<Record<string, unknown>>;
}

export interface IHealth {
  readonly ok: boolean;
  readonly lines: readonly {
    readonly name: string;
    readonly ok: boolean;
    readonly status: 'ok' | 'warning' | 'problem';
    readonly detail: string;
  }[];
}

export interface ITrial {
  readonly ok: boolean;
  readonly steps: readonly { readonly name: string; readonly seconds: number }[];
  readonly message: string;
}

export interface ISpend {
  readonly days: readonly {
    /** ISO, as in 2026-11-20. */
    readonly date: string;
    readonly backend: string;
    readonly emulated: boolean;
    readonly jobs: number;
    readonly spend: number;
    readonly estimate: number | null;
  }[];
  readonly month: readonly {
    readonly backend: string;
    readonly emulated: boolean;
    readonly spend: number;
    readonly estimate: number | null;
    readonly jobs: number;
  }[];
  readonly total: number;
  readonly today: {
    readonly spend: number;
    /** What all jobs of a day may spend together. */
    readonly budget: number | null;
  };
  /** How good the estimates of costs and of times were; null where nothing tells. */
  readonly estimates: {
    readonly money: IAccuracy | null;
    readonly seconds: IAccuracy | null;
  };
}

/** How good estimates were. */
export interface IAccuracy {
  readonly jobs: number;
  /** Half of them were wrong by less than this part: 0.07 is 7 %. */
  readonly median_error: number;
  /** The share of them whose interval held what came. */
  readonly within: number;
}

/** What running a cell will probably cost. */
export interface IEstimate {
  readonly expected: number | null;
  readonly low: number;
  readonly high: number;
  /** How many earlier runs of the cell it rests on. */
  readonly jobs: number;
  readonly message: string;
}

/** What comes through the web socket. */
export type IChange =
  | {
      readonly type: 'jobs';
      readonly cursor: Cursor;
      readonly jobs: readonly IJob[];
      readonly removed: readonly string[];
      /** Everything known before is void: the journal is another, or too much was missed. */
      readonly reset: boolean;
    }
  | {
      readonly type: 'job';
      readonly id: string;
      readonly batches: IBatches;
      readonly log: { readonly pieces: readonly ILogPiece[]; readonly next: number };
      readonly errors_changed: boolean;
    }
  | {
      /** The journal cannot be used; when it can again, a reset follows. */
      readonly type: 'error';
      readonly message: string;
    };

/** The name of a backend as people read it, which says where something else stood in for it. */
export function backendLabel({
  backend,
  emulated
}: {
  readonly backend: string;
  readonly emulated: boolean;
}): string {
  return emulated ? `${backend} (emulated)` : backend;
}

/** Whether a job can still change by itself. */
export function isActive(job: IJob): boolean {
  return job.state === 'running' || job.state === 'cancelling';
}
