"""Tests that may fail now and then."""

import functools
import unittest


def repeat_with_success_at_least(times, min_success):
    """Run a test method ``times`` times; ``min_success`` of them must pass."""
    assert times >= min_success

    def decorator(test):
        @functools.wraps(test)
        def wrapper(self, *args, **kwargs):
            assert isinstance(self, unittest.TestCase)
            passed, failures = 0, []
            for _ in range(times):
                result = _run_once(self, test, args, kwargs)
                if result.skipped:
                    self.skipTest(result.skipped[0][1])
                if result.wasSuccessful():
                    passed += 1
                else:
                    failures.append(result)
                if passed >= min_success:
                    return
                if len(failures) > times - min_success:
                    break
            message = f"\nFail: {len(failures)}, Success: {passed}"
            if failures:
                errors = failures[0].failures + failures[0].errors
                texts = "\n".join(text for _, text in errors)
                message += f"\n\nThe first error message:\n{texts}"
            self.fail(message)

        return wrapper

    return decorator


def _run_once(instance, test, args, kwargs):
    fresh = type(instance)(instance._testMethodName)

    def run():
        try:
            test(fresh, *args, **kwargs)
        except BaseException as error:
            if type(error).__name__ == "Skipped":  # pytest's, which unittest passes on
                fresh.skipTest(str(error))
            raise

    case = unittest.FunctionTestCase(run, setUp=fresh.setUp, tearDown=fresh.tearDown)
    result = unittest.TestResult()
    case(result)
    return result


def repeat(times):
    """Run a test method ``times`` times; all must pass."""
    return repeat_with_success_at_least(times, times)


def retry(times):
    """Run a test method up to ``times`` times; one must pass."""
    return repeat_with_success_at_least(times, 1)
