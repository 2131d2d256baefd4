const x = "a long text of several words about SSRF here";
export default () => <a href="/api/users">Hello {name} there</a>;
