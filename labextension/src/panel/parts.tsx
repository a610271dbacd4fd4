/** Small components that several views share. */

import type { TranslationBundle } from '@jupyterlab/translation';
import { caretDownIcon, caretRightIcon, type LabIcon } from '@jupyterlab/ui-components';
import * as React from 'react';

import { type IJob, isActive, type JobState } from '../api/types';

/** Whether the panel can be seen: what ticks stops when it cannot. */
export const Visible = React.createContext(true);

/**
 * A job's age, going on between two pieces of news: an item may take an hour.
 *
 * @returns seconds
 */
export function useElapsed(job: IJob): number {
  const visible = React.useContext(Visible);
  const isTicking = isActive(job) && visible;
  const [seen, setSeen] = React.useState({ job, at: performance.now() });
  const [now, setNow] = React.useState(seen.at);
  if (seen.job !== job) {
    setSeen({ job, at: performance.now() });
  }
  React.useEffect(() => {
    if (!isTicking) {
      return;
    }
    const timer = window.setInterval(() => setNow(performance.now()), 1000);
    return () => window.clearInterval(timer);
  }, [isTicking]);
  return isActive(job) ? job.elapsed + Math.max(0, now - seen.at) / 1000 : job.elapsed;
}

/** How a state is called. */
export function stateName(state: JobState, trans: TranslationBundle): string {
  switch (state) {
    case 'running':
      return trans.__('Running');
    case 'cancelling':
      return trans.__('Cancelling');
    case 'done':
      return trans.__('Done');
    case 'failed':
      return trans.__('Failed');
    case 'cancelled':
      return trans.__('Cancelled');
    case 'lost':
      return trans.__('Kernel gone');
  }
}

/** A dot whose shape and colour tell the state; the word stands beside it or is read out. */
export function StateDot({ state }: { state: JobState }): JSX.Element {
  return <span className="cb-StateDot" data-state={state} aria-hidden="true" />;
}

/** What it means that a job is detached; null for one that is not, or has ended. */
export function detachedMeans(job: IJob, trans: TranslationBundle): string | null {
  if (!job.detached || !(isActive(job) || job.state === 'lost')) {
    return null;
  }
  return isActive(job)
    ? trans.__('It goes on without the kernel that started it')
    : trans.__('What it had sent off goes on; attach to it for the results');
}

interface IProgressProps {
  job: IJob;
  trans: TranslationBundle;
}

/** Done and failed of all; without a known total, that something goes on. */
export function ProgressBar({ job, trans }: IProgressProps): JSX.Element {
  const { done, failed, total } = job;
  const part = (n: number) => `${total ? Math.min(100, (100 * n) / total) : 0}%`;
  const known = total === null ? {} : { 'aria-valuemax': total };
  return (
    <div
      className="cb-Progress"
      role="progressbar"
      aria-label={trans.__('Progress of %1', job.name)}
      aria-valuemin={0}
      aria-valuenow={done + failed}
      {...known}
      data-state={job.state}
      data-open={total === null || undefined}
    >
      <span className="cb-Progress-done" style={{ width: part(done) }} />
      <span className="cb-Progress-failed" style={{ width: part(failed) }} />
    </div>
  );
}

interface ISectionProps {
  title: string;
  /** What stands at the right end of the title, as a count. */
  aside?: React.ReactNode;
  open?: boolean;
  onToggle?: (open: boolean) => void;
  children: React.ReactNode;
}

/** A part of a view that can be folded; what is folded is not drawn. */
export function Section(props: ISectionProps): JSX.Element {
  const [open, setOpen] = React.useState(props.open ?? false);
  const id = React.useId();
  const Caret = open ? caretDownIcon : caretRightIcon;
  return (
    <section className="cb-Section">
      <h3>
        <button
          type="button"
          aria-expanded={open}
          aria-controls={id}
          onClick={() => {
            setOpen(!open);
            props.onToggle?.(!open);
          }}
        >
          <Caret.react tag="span" className="cb-Section-caret" />
          <span className="cb-Section-title">{props.title}</span>
          <span className="cb-Section-aside">{props.aside}</span>
        </button>
      </h3>
      <div id={id} className="cb-Section-body" hidden={!open}>
        {open && props.children}
      </div>
    </section>
  );
}

interface IActionProps {
  label: string;
  onClick: () => void;
  icon?: LabIcon;
  disabled?: boolean;
  /** The one thing to do here. */
  primary?: boolean;
  /** Something that cannot be undone. */
  warn?: boolean;
  title?: string;
}

/** A button as JupyterLab's dialogs have them, only smaller. */
export function Action(props: IActionProps): JSX.Element {
  const look = props.warn
    ? 'jp-mod-warn'
    : props.primary
      ? 'jp-mod-accept'
      : 'jp-mod-minimal';
  return (
    <button
      type="button"
      className={`cb-Action jp-mod-styled ${look}`}
      onClick={props.onClick}
      disabled={props.disabled}
      title={props.title}
    >
      {props.icon && <props.icon.react tag="span" className="cb-Action-icon" />}
      {props.label}
    </button>
  );
}

/** Something went wrong: said at once to those who listen. */
export function Problem({ text }: { text: string | null }): JSX.Element | null {
  return text === null ? null : (
    <p className="cb-Problem" role="alert">
      {text}
    </p>
  );
}

/** Names and values in two columns; what is null is left out. */
export function Facts({ facts }: { facts: readonly (Fact | null)[] }): JSX.Element {
  return (
    <dl className="cb-Facts">
      {facts.map(
        fact =>
          fact !== null && (
            <div key={fact.name} title={fact.title}>
              <dt>{fact.name}</dt>
              <dd data-tone={fact.tone}>
                {fact.value}
                {fact.more && <small>{fact.more}</small>}
              </dd>
            </div>
          )
      )}
    </dl>
  );
}

export interface Fact {
  readonly name: string;
  readonly value: React.ReactNode;
  /** A smaller line below the value. */
  readonly more?: string | undefined;
  readonly title?: string | undefined;
  readonly tone?: 'bad' | undefined;
}
