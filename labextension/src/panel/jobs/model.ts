/** The list of jobs: pages from the server, kept up to date by the feed. */

import type { IDisposable } from '@lumino/disposable';
import { type ISignal, Signal } from '@lumino/signaling';

import type { Feed } from '../../api/feed';
import { backendLabel, type IChange, type IJob, type JobState } from '../../api/types';
import type { IJobsModel } from '../../tokens';
import { type Interval, Redraw } from '../redraw';

const PAGE = 50;
/** Milliseconds without typing before a search is sent. */
const PATIENCE = 250;

export interface IFilter {
  readonly state: JobState | null;
  readonly notebook: string | null;
  readonly search: string;
}

const EVERYTHING: IFilter = { state: null, notebook: null, search: '' };

export class JobListModel implements IDisposable {
  constructor(
    private readonly _known: IJobsModel,
    interval: Interval
  ) {
    this._redraw = new Redraw(() => this._changed.emit(), interval);
    _known.changed.connect(this._onChanged, this);
    _known.feed.received.connect(this._onReceived, this);
  }

  get changed(): ISignal<JobListModel, void> {
    return this._changed;
  }

  /** What the filter lets through, newest first, as far as it was asked for. */
  get jobs(): readonly IJob[] {
    return this._jobs;
  }

  /** Jobs that the filter lets through, those on later pages too. */
  get total(): number {
    return this._total;
  }

  get filter(): IFilter {
    return this._filter;
  }

  get isFiltered(): boolean {
    const { state, notebook, search } = this._filter;
    return state !== null || notebook !== null || search !== '';
  }

  /** Notebooks that jobs seen so far belong to. */
  get notebooks(): readonly string[] {
    return [...this._notebooks].sort();
  }

  /** False until the first answer. */
  get isLoaded(): boolean {
    return this._isLoaded;
  }

  /** Why the list could not be read, or null. */
  get problem(): string | null {
    return this._problem;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  /** Follow the jobs only while the panel is visible. */
  set isVisible(visible: boolean) {
    if (visible === this._isVisible) {
      return;
    }
    this._isVisible = visible;
    window.clearTimeout(this._typing);
    if (visible) {
      void this.refresh();
    }
  }

  setFilter(part: Partial<IFilter>): void {
    const typed = part.search !== undefined && part.search !== this._filter.search;
    this._filter = { ...this._filter, ...part };
    this._changed.emit();
    window.clearTimeout(this._typing);
    this._typing = window.setTimeout(() => void this.refresh(), typed ? PATIENCE : 0);
  }

  clearFilter(): void {
    this.setFilter(EVERYTHING);
  }

  /** Read the newest page again. */
  async refresh(): Promise<void> {
    await this._load(0);
  }

  /** Read the page after the ones that are here. */
  async older(): Promise<void> {
    await this._load(this._jobs.length);
  }

  /** Ask a job's kernel to end it; the feed tells when it has. */
  async cancel(id: string): Promise<void> {
    try {
      await this._known.client.cancel(id);
      this._problem = null;
    } catch (error) {
      this._problem = error instanceof Error ? error.message : String(error);
    }
    this._changed.emit();
  }

  dispose(): void {
    if (!this._isDisposed) {
      this._isDisposed = true;
      window.clearTimeout(this._typing);
      this._redraw.dispose();
      Signal.clearData(this);
    }
  }

  private async _load(offset: number): Promise<void> {
    this._request += 1;
    const request = this._request;
    this._meanwhile.clear();
    const { state, notebook, search } = this._filter;
    try {
      const answer = await this._known.client.jobs({
        limit: PAGE,
        offset,
        ...(state === null ? {} : { state }),
        ...(notebook === null ? {} : { notebook }),
        ...(search === '' ? {} : { search })
      });
      if (request !== this._request) {
        return; // the filter is another one by now
      }
      this._jobs = newestFirst([...(offset === 0 ? [] : this._jobs), ...answer.jobs]);
      this._total = answer.total;
      this._problem = null;
      for (const job of answer.jobs) {
        this._note(job);
      }
    } catch (error) {
      if (request !== this._request) {
        return;
      }
      this._problem = error instanceof Error ? error.message : String(error);
    }
    this._isLoaded = true;
    this._take(this._meanwhile); // the answer may be older than what the feed brought since
    this._changed.emit();
  }

  private _onChanged(_: IJobsModel, ids: ReadonlySet<string>): void {
    for (const id of ids) {
      this._meanwhile.add(id);
    }
    if (!this._isVisible || !this._isLoaded) {
      return; // `isVisible` reads everything again
    }
    this._take(ids);
    this._redraw.request();
  }

  /** Show jobs as the feed brought them. */
  private _take(ids: ReadonlySet<string>): void {
    const jobs = new Map(this._jobs.map(job => [job.id, job]));
    const last = this._jobs[this._jobs.length - 1];
    const isComplete = this._jobs.length >= this._total;
    for (const id of ids) {
      const job = this._known.get(id);
      if (job === undefined || !belongs(job, this._filter)) {
        this._total -= jobs.delete(id) ? 1 : 0;
      } else if (jobs.has(id)) {
        jobs.set(id, job);
      } else if (!mentions(job, this._filter.search)) {
        // The server searches more, its code for instance: the next refresh shows it then.
      } else if (isComplete || last === undefined || job.created >= last.created) {
        // Otherwise it comes with its page.
        jobs.set(id, job);
        this._total += 1;
        this._note(job);
      }
    }
    this._jobs = newestFirst([...jobs.values()]);
  }

  private _onReceived(_: Feed, change: IChange): void {
    if (!this._isVisible) {
      return;
    }
    if (change.type === 'jobs' && change.reset) {
      void this.refresh(); // the pages that were read may be another journal's
    } else if (change.type === 'error') {
      this._problem = change.message;
      this._redraw.request();
    }
  }

  private _note(job: IJob): void {
    if (job.notebook !== null) {
      this._notebooks.add(job.notebook);
    }
  }

  private readonly _changed = new Signal<JobListModel, void>(this);
  private _filter = EVERYTHING;
  private _isDisposed = false;
  private _isLoaded = false;
  private _isVisible = false;
  private _jobs: readonly IJob[] = [];
  /** Jobs that the feed has told of since the latest page was asked for. */
  private readonly _meanwhile = new Set<string>();
  private readonly _notebooks = new Set<string>();
  private _problem: string | null = null;
  private readonly _redraw: Redraw;
  private _request = 0;
  private _total = 0;
  private _typing: number | undefined;
}

function belongs(job: IJob, { state, notebook }: IFilter): boolean {
  return (
    (state === null || job.state === state) &&
    (notebook === null || job.notebook === notebook)
  );
}

function mentions(job: IJob, search: string): boolean {
  const text = search.trim().toLowerCase();
  const fields = [
    job.name,
    job.id,
    backendLabel(job),
    job.notebook ?? '',
    job.error ?? ''
  ];
  return fields.some(field => field.toLowerCase().includes(text));
}

/** Each job once, as it was named last: pages shift while new jobs begin. */
function newestFirst(jobs: readonly IJob[]): readonly IJob[] {
  return [...new Map(jobs.map(job => [job.id, job])).values()].sort(
    (a, b) => b.created - a.created || (a.id < b.id ? -1 : 1)
  );
}
