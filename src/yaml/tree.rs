//! Builds the nodes of one document from tokens, by the grammar of libyaml.

use std::{borrow::Cow, collections::HashMap};

use super::{
    Budget, Fault, MAX_DEPTH,
    scanner::{Scanner, Token},
};

/// Index of a node in its [`Tree`].
pub(super) type Id = usize;

/// What tags without a prefix of their own stand for.
const YAML_ORG: &str = "tag:yaml.org,2002:";

/// Memory that a node takes, bytes: itself and its place in its parent.
const NODE: usize = size_of::<Node<'_>>() + 2 * size_of::<Id>();

#[derive(Debug)]
pub(super) enum Node<'a> {
    /// Text, tag, and whether it is plain: its type is to be found by its text.
    Scalar(Cow<'a, str>, Option<Box<str>>, bool),
    Sequence(Vec<Id>),
    /// Keys and values in turn.
    Mapping(Vec<Id>),
    /// Another node. It is `true` while that is being read.
    Alias(Id, bool),
}

/// The nodes of a document.
#[derive(Default)]
pub(super) struct Tree<'a> {
    pub(super) nodes: Vec<Node<'a>>,
    anchors: HashMap<&'a str, Id>,
    /// Handles of tags and what they stand for.
    handles: Vec<(String, String)>,
}

/// What a node has before its content.
#[derive(Default)]
struct Properties<'a> {
    anchor: Option<&'a str>,
    tag: Option<Box<str>>,
}

/// Reads the first document of a text. `None` for a text without one.
pub(super) fn first_document<'a>(
    text: &'a str,
    budget: &mut Budget,
) -> Result<Option<(Tree<'a>, Id)>, Fault> {
    let mut builder = Builder { scanner: Scanner::new(text), tree: Tree::default(), budget, depth: 0 };
    builder.document().map(|root| root.map(|root| (builder.tree, root)))
}

struct Builder<'a, 'b> {
    scanner: Scanner<'a>,
    tree: Tree<'a>,
    budget: &'b mut Budget,
    depth: usize,
}

impl<'a> Builder<'a, '_> {
    fn document(&mut self) -> Result<Option<Id>, Fault> {
        let mut is_explicit = false;
        match self.scanner.peek()? {
            Token::StreamEnd => return Ok(None),
            Token::Version(..) | Token::TagDirective(..) | Token::DocumentStart => is_explicit = true,
            _ => {}
        }
        self.directives()?;
        if is_explicit {
            self.expect(&Token::DocumentStart)?;
        }
        let root = match self.scanner.peek()? {
            Token::Version(..)
            | Token::TagDirective(..)
            | Token::DocumentStart
            | Token::DocumentEnd
            | Token::StreamEnd
                if is_explicit =>
            {
                self.empty()?
            }
            _ => self.node(true, false)?,
        };
        // Go looks one token further before it is content, and what follows is of another document.
        self.scanner.peek()?;
        Ok(Some(root))
    }

    fn directives(&mut self) -> Result<(), Fault> {
        let mut has_version = false;
        loop {
            match self.scanner.peek()? {
                Token::Version(major, minor) => {
                    if has_version || (*major, *minor) != (1, 1) {
                        return Err(self.scanner.fault());
                    }
                    has_version = true;
                    self.scanner.take()?;
                }
                Token::TagDirective(..) => {
                    if let Token::TagDirective(handle, prefix) = self.scanner.take()? {
                        if self.tree.handles.iter().any(|(own, _)| *own == handle) {
                            return Err(self.scanner.fault());
                        }
                        self.tree.handles.push((handle, prefix));
                    }
                }
                _ => break,
            }
        }
        for (handle, prefix) in [("!", "!"), ("!!", YAML_ORG)] {
            if !self.tree.handles.iter().any(|(own, _)| own == handle) {
                self.tree.handles.push((handle.into(), prefix.into()));
            }
        }
        Ok(())
    }

    fn expect(&mut self, wanted: &Token<'_>) -> Result<(), Fault> {
        if self.scanner.peek()? == wanted { self.scanner.take().map(drop) } else { Err(self.scanner.fault()) }
    }

    /// Consumes the next token if it is this one.
    fn took(&mut self, wanted: &Token<'_>) -> Result<bool, Fault> {
        let is_it = self.scanner.peek()? == wanted;
        if is_it {
            self.scanner.take()?;
        }
        Ok(is_it)
    }

    fn next_is(&mut self, wanted: &[Token<'_>]) -> Result<bool, Fault> {
        let next = self.scanner.peek()?;
        Ok(wanted.iter().any(|wanted| wanted == next))
    }

    fn add(&mut self, node: Node<'a>) -> Result<Id, Fault> {
        let owned = match &node {
            Node::Scalar(Cow::Owned(text), ..) => text.capacity(),
            _ => 0,
        };
        self.budget.spend(NODE + owned)?;
        self.tree.nodes.push(node);
        Ok(self.tree.nodes.len() - 1)
    }

    fn empty(&mut self) -> Result<Id, Fault> {
        self.add(Node::Scalar(Cow::Borrowed(""), None, true))
    }

    fn properties(&mut self) -> Result<Properties<'a>, Fault> {
        let mut properties = Properties::default();
        let mut has_tag = false;
        loop {
            match self.scanner.peek()? {
                Token::Anchor(name) if properties.anchor.is_none() => {
                    properties.anchor = Some(name);
                    self.scanner.take()?;
                }
                Token::Tag(handle, suffix) if !has_tag => {
                    has_tag = true;
                    let tag = if handle.is_empty() {
                        suffix.clone()
                    } else {
                        let prefix = self.tree.handles.iter().find(|(own, _)| own == handle);
                        match prefix.map(|(_, prefix)| format!("{prefix}{suffix}")) {
                            Some(tag) if !tag.is_empty() => tag,
                            _ => return Err(self.scanner.fault()),
                        }
                    };
                    properties.tag = Some(tag.into_boxed_str()).filter(|tag| !tag.is_empty());
                    self.scanner.take()?;
                }
                _ => return Ok(properties),
            }
        }
    }

    fn node(&mut self, is_block: bool, may_be_indentless: bool) -> Result<Id, Fault> {
        if let Token::Alias(name) = self.scanner.peek()? {
            let target = self.tree.anchors.get(name).copied();
            let target = target.ok_or_else(|| self.scanner.fault())?;
            self.scanner.take()?;
            return self.add(Node::Alias(target, false));
        }
        let Properties { anchor, tag } = self.properties()?;
        let kind = match self.scanner.peek()? {
            Token::BlockEntry if may_be_indentless => Token::BlockEntry,
            Token::Scalar(..) => {
                if let Token::Scalar(text, is_plain) = self.scanner.take()? {
                    let is_plain = match tag.as_deref() {
                        None => is_plain,
                        Some(tag) => tag == "!",
                    };
                    let id = self.add(Node::Scalar(text, tag, is_plain))?;
                    self.name(anchor, id);
                    return Ok(id);
                }
                return Err(self.scanner.fault());
            }
            Token::FlowSequenceStart => Token::FlowSequenceStart,
            Token::FlowMappingStart => Token::FlowMappingStart,
            Token::BlockSequenceStart if is_block => Token::BlockSequenceStart,
            Token::BlockMappingStart if is_block => Token::BlockMappingStart,
            _ if anchor.is_some() || tag.is_some() => {
                let is_plain = tag.is_none();
                let id = self.add(Node::Scalar(Cow::Borrowed(""), tag, is_plain))?;
                self.name(anchor, id);
                return Ok(id);
            }
            _ => return Err(self.scanner.fault()),
        };
        // The anchor is known in what it names: such an alias is an error of its own.
        let id = self.add(Node::Sequence(Vec::new()))?;
        self.name(anchor, id);
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Fault::TooDeep);
        }
        let node = match kind {
            Token::BlockEntry => Node::Sequence(self.indentless_sequence()?),
            Token::BlockSequenceStart => Node::Sequence(self.block_sequence()?),
            Token::BlockMappingStart => Node::Mapping(self.block_mapping()?),
            Token::FlowSequenceStart => Node::Sequence(self.flow_sequence()?),
            _ => Node::Mapping(self.flow_mapping()?),
        };
        self.depth -= 1;
        self.tree.nodes[id] = node;
        Ok(id)
    }

    fn name(&mut self, anchor: Option<&'a str>, id: Id) {
        if let Some(anchor) = anchor {
            self.tree.anchors.insert(anchor, id);
        }
    }

    fn block_sequence(&mut self) -> Result<Vec<Id>, Fault> {
        self.scanner.take()?;
        let mut items = Vec::new();
        while self.took(&Token::BlockEntry)? {
            let is_empty = self.next_is(&[Token::BlockEntry, Token::BlockEnd])?;
            items.push(if is_empty { self.empty()? } else { self.node(true, false)? });
        }
        self.expect(&Token::BlockEnd)?;
        Ok(items)
    }

    fn indentless_sequence(&mut self) -> Result<Vec<Id>, Fault> {
        let mut items = Vec::new();
        while self.took(&Token::BlockEntry)? {
            let ends = [Token::BlockEntry, Token::Key, Token::Value, Token::BlockEnd];
            let is_empty = self.next_is(&ends)?;
            items.push(if is_empty { self.empty()? } else { self.node(true, false)? });
        }
        Ok(items)
    }

    fn block_mapping(&mut self) -> Result<Vec<Id>, Fault> {
        const ENDS: [Token<'_>; 3] = [Token::Key, Token::Value, Token::BlockEnd];
        self.scanner.take()?;
        let mut items = Vec::new();
        loop {
            if self.took(&Token::Key)? {
                let is_empty = self.next_is(&ENDS)?;
                items.push(if is_empty { self.empty()? } else { self.node(true, true)? });
            } else {
                self.expect(&Token::BlockEnd)?;
                return Ok(items);
            }
            let is_empty = !self.took(&Token::Value)? || self.next_is(&ENDS)?;
            items.push(if is_empty { self.empty()? } else { self.node(true, true)? });
        }
    }

    fn flow_sequence(&mut self) -> Result<Vec<Id>, Fault> {
        self.scanner.take()?;
        let mut items = Vec::new();
        while !self.next_is(&[Token::FlowSequenceEnd])? {
            if !items.is_empty() {
                self.expect(&Token::FlowEntry)?;
            }
            if self.took(&Token::Key)? {
                items.push(self.flow_pair()?);
            } else if !self.next_is(&[Token::FlowSequenceEnd])? {
                items.push(self.node(false, false)?);
            }
        }
        self.scanner.take()?;
        Ok(items)
    }

    /// A mapping of one pair that is an item of a flow sequence.
    fn flow_pair(&mut self) -> Result<Id, Fault> {
        let key = if self.next_is(&[Token::Value, Token::FlowEntry, Token::FlowSequenceEnd])? {
            // libyaml loses this token, and so does Go.
            self.scanner.take()?;
            self.empty()?
        } else {
            self.node(false, false)?
        };
        let is_empty =
            !self.took(&Token::Value)? || self.next_is(&[Token::FlowEntry, Token::FlowSequenceEnd])?;
        let value = if is_empty { self.empty()? } else { self.node(false, false)? };
        self.add(Node::Mapping(vec![key, value]))
    }

    fn flow_mapping(&mut self) -> Result<Vec<Id>, Fault> {
        self.scanner.take()?;
        let mut items = Vec::new();
        while !self.next_is(&[Token::FlowMappingEnd])? {
            if !items.is_empty() {
                self.expect(&Token::FlowEntry)?;
            }
            if self.took(&Token::Key)? {
                let ends = [Token::Value, Token::FlowEntry, Token::FlowMappingEnd];
                let is_empty = self.next_is(&ends)?;
                items.push(if is_empty { self.empty()? } else { self.node(false, false)? });
                let is_empty =
                    !self.took(&Token::Value)? || self.next_is(&[Token::FlowEntry, Token::FlowMappingEnd])?;
                items.push(if is_empty { self.empty()? } else { self.node(false, false)? });
            } else if !self.next_is(&[Token::FlowMappingEnd])? {
                items.push(self.node(false, false)?);
                items.push(self.empty()?);
            }
        }
        self.scanner.take()?;
        Ok(items)
    }
}
